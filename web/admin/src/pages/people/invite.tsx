import { Alert, Button, Group, Modal, Radio, Select, Stack, Text, Textarea } from "@mantine/core";
import { IconCheck, IconMailX } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import type { Schemas } from "~/api/client";
import { explain } from "~/api/problem";
import { count, list } from "~/lib/words";
import { CopyField } from "~/ui/copy";
import { RoleSelect } from "~/ui/role-select";
import { parseAddresses, type Address } from "./addresses";
import { invite, useRefreshPeople } from "./api";
import classes from "./invite.module.css";

type Sent = { address: Address } & ({ created: Schemas["InvitationCreated"] } | { error: unknown });

/** Invites one person or many at once; each address has its own result. */
export function InviteDialog({ opened, onClose, address }: { opened: boolean; onClose: () => void; address?: string }) {
  return <Modal opened={opened} onClose={onClose} title="Invite people" size="lg"><Invite onClose={onClose} address={address} /></Modal>;
}

const expiries = [{ value: "24", label: "1 day" }, { value: "72", label: "3 days" }, { value: "168", label: "7 days" }, { value: "720", label: "30 days" }];

function Invite({ onClose, address }: { onClose: () => void; address?: string }) {
  const refresh = useRefreshPeople();
  const [text, setText] = useState(address ?? "");
  const [roles, setRoles] = useState<string[]>([]);
  const [by, setBy] = useState("mail");
  const [hours, setHours] = useState("168");
  const [complaint, setComplaint] = useState("");
  const { good, bad } = parseAddresses(text);

  const send = useMutation({
    mutationFn: async () => {
      const out: Sent[] = [];
      // One after the other: writes of a tenant are, and a refusal of one must not stop the others.
      for (const each of good) {
        try {
          out.push({ address: each, created: await invite({ email: each.email, ...(each.name ? { name: each.name } : {}), ...(roles.length > 0 ? { roles } : {}), send: by === "mail", expires_in_hours: Number(hours) }) });
        } catch (error) {
          out.push({ address: each, error });
        }
      }
      return out;
    },
    onSuccess: refresh,
  });

  if (send.data) return <Results sent={send.data} mailed={by === "mail"} onClose={onClose} />;
  const submit = () => {
    if (bad.length > 0) setComplaint(`Not an address: ${list(bad, 3)}.`);
    else if (good.length === 0) setComplaint("Write at least one address.");
    else send.mutate();
  };
  return (
    <form onSubmit={(e) => { e.preventDefault(); submit(); }}>
      <Stack gap="md">
        <Textarea
          label="Addresses" description="One a line, or separated by commas; “Name <address>” works too" autosize minRows={3} maxRows={10} data-autofocus placeholder={"sam@example.com\nFred Finance <fred@example.com>"}
          value={text} error={complaint} readOnly={address !== undefined} onChange={(e) => { setText(e.currentTarget.value); setComplaint(""); }}
        />
        <RoleSelect label="Roles" description="For all of them. Members keep the roles that they have if you choose none" value={roles} onChange={setRoles} />
        <Radio.Group label="How the link gets to them" value={by} onChange={setBy}>
          <Stack gap={6} mt={6}>
            <Radio value="mail" label="Send it by mail" />
            <Radio value="link" label="Show it to me, once, to hand over" description="Whoever has the link becomes this person." />
          </Stack>
        </Radio.Group>
        <Select label="The link is good for" w={160} allowDeselect={false} data={expiries} value={hours} onChange={(v) => setHours(v ?? "168")} />
        <Group justify="space-between" gap="xs">
          <Text size="sm" c="dimmed" role="status" className="num">{good.length > 0 && count(good.length, "address", "addresses")}</Text>
          <Group gap="xs">
            <Button variant="default" onClick={onClose}>Cancel</Button>
            <Button type="submit" loading={send.isPending}>{good.length > 1 ? `Invite ${good.length} people` : "Invite"}</Button>
          </Group>
        </Group>
      </Stack>
    </form>
  );
}

export function Results({ sent, mailed, onClose }: { sent: readonly Sent[]; mailed: boolean; onClose: () => void }) {
  const links = sent.some((s) => "created" in s && (!mailed || s.created.mail_error));
  return (
    <Stack gap="md">
      {links && <Alert color="amber" title="Copy the links now; they are not shown again">Whoever has a link becomes that person. Hand each over in a way that nobody else reads.</Alert>}
      <ul className={classes.results}>
        {sent.map((s) => (
          <li key={s.address.email}>
            {"error" in s ? (
              <><Text size="sm" fw={550} className={classes.bad}><IconMailX size={16} aria-hidden /> {s.address.email} was not invited</Text><Text size="sm" c="dimmed">{problemWords(s.error)}</Text></>
            ) : (
              <>
                <Text size="sm" fw={550} className={classes.good}><IconCheck size={16} aria-hidden /> {s.address.email} {mailed && !s.created.mail_error ? "gets a mail" : "is invited"}</Text>
                {s.created.mail_error && <Text size="sm" c="var(--lk-warn)">The mail could not be sent: {s.created.mail_error} The link is good all the same.</Text>}
                {(!mailed || s.created.mail_error) && <CopyField value={s.created.url} label={`Link of ${s.address.email}`} />}
              </>
            )}
          </li>
        ))}
      </ul>
      <Group justify="flex-end"><Button onClick={onClose}>Done</Button></Group>
    </Stack>
  );
}

function problemWords(error: unknown): string {
  const { title, detail } = explain(error);
  const places = "problem" in (error as object) ? ((error as { problem: { errors?: { detail?: string }[] } }).problem.errors ?? []).map((e) => e.detail).filter(Boolean) : [];
  return [detail || title, ...places].join(" ");
}
