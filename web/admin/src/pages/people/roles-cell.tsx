import { ActionIcon, Badge, Button, Group, Popover, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconPencil } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { isStale } from "~/api/problem";
import { list } from "~/lib/words";
import { RoleSelect } from "~/ui/role-select";
import { ErrorState } from "~/ui/states";
import { toast } from "~/ui/toast";
import { putMember, readMember, useRefreshPeople, type Member } from "./api";

/** A person's roles, changed where they stand. */
export function RolesCell({ member, editable }: { member: Member; editable: boolean }) {
  const [opened, { open, close }] = useDisclosure();
  return (
    // The row leads to the person's page; what is done in here must not.
    // oxlint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-static-element-interactions
    <div onClick={(e) => { if (opened) e.stopPropagation(); }}>
      <Group gap={4}>
        {member.roles.length === 0 && <Text size="sm" c="dimmed">none</Text>}
        {member.roles.slice(0, 3).map((r) => <Badge key={r}>{r}</Badge>)}
        {member.roles.length > 3 && <Badge variant="outline" title={member.roles.slice(3).join(", ")}>{member.roles.length - 3} more</Badge>}
        {editable && (
          <Popover opened={opened} onClose={close} onDismiss={close} position="bottom-start" shadow="md" trapFocus width={320} transitionProps={{ duration: 0 }} withinPortal>
            <Popover.Target>
              <ActionIcon size={24} aria-label={`Change the roles of ${member.email}`} aria-haspopup="dialog" aria-expanded={opened} onClick={(e) => { e.stopPropagation(); open(); }}><IconPencil size={14} aria-hidden /></ActionIcon>
            </Popover.Target>
            <Popover.Dropdown aria-label={`Roles of ${member.email}`} onClick={(e) => e.stopPropagation()}>
              <RolesForm member={member} onClose={close} />
            </Popover.Dropdown>
          </Popover>
        )}
      </Group>
    </div>
  );
}

function RolesForm({ member, onClose }: { member: Member; onClose: () => void }) {
  const refresh = useRefreshPeople();
  const [roles, setRoles] = useState(member.roles);
  const save = useMutation({
    // A list has no tag for each of its rows, so the person is read first; what somebody else changed of them meanwhile is kept, except the roles.
    mutationFn: async () => {
      const { data, etag } = await readMember(member.email);
      if (data.roles.toSorted().join() !== member.roles.toSorted().join()) throw new Error(`The roles of ${member.email} were changed meanwhile, to ${list(data.roles) || "none"}. Close this and look again.`);
      return putMember(member.email, { ...data, roles }, etag);
    },
    onSuccess: async () => {
      toast.done(`${member.email} now has ${roles.length === 0 ? "no role" : list(roles)}. It holds from the next call on.`);
      onClose();
      await refresh();
    },
    onError: (error) => { if (isStale(error)) void refresh(); },
  });
  return (
    <form onSubmit={(e) => { e.preventDefault(); save.mutate(); }}>
      <Stack gap="sm">
        <RoleSelect label="Roles" value={roles} onChange={setRoles} />
        {save.isError && <ErrorState error={save.error} title="The roles were not changed" />}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={onClose}>Cancel</Button>
          <Button type="submit" loading={save.isPending}>Save roles</Button>
        </Group>
      </Stack>
    </form>
  );
}
