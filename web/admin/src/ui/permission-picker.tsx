import { Checkbox, Switch, Table, Text } from "@mantine/core";
import { allows } from "~/api/me";
import { subjects, togglePermission, type Permission } from "~/lib/permissions";

interface Props {
  value: Permission[];
  onChange: (value: Permission[]) => void;
  /** What the person at the console holds: more than that cannot be given. */
  holds: readonly string[];
  readOnly?: boolean;
}

/** What a role or a key may do on the platform itself, subject by subject. */
export function PermissionPicker({ value, onChange, holds, readOnly }: Props) {
  const all = value.includes("admin");
  const box = (permission: Permission | undefined, name: string) => {
    if (!permission) return null;
    const has = allows(value, permission);
    return (
      <Checkbox
        aria-label={name} checked={has} disabled={readOnly || all || (!has && !allows(holds, permission))}
        onChange={(e) => onChange(togglePermission(value, permission, e.currentTarget.checked))}
      />
    );
  };
  return (
    <div>
      <Switch
        mb="sm" label="Everything, now and what comes later" description="The permission admin. Keep it with few people." checked={all}
        disabled={readOnly || (!all && !holds.includes("admin"))} onChange={(e) => onChange(e.currentTarget.checked ? ["admin"] : [])}
      />
      <Table verticalSpacing={6} withTableBorder>
        <Table.Thead>
          <Table.Tr>
            <Table.Th scope="col">On the platform</Table.Th>
            <Table.Th scope="col" w={70}>See</Table.Th>
            <Table.Th scope="col" w={70}>Change</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {subjects.map((s) => (
            <Table.Tr key={s.name}>
              <Table.Th scope="row" fw={400}>{s.label} <Text span size="xs" c="dimmed">{s.says}</Text></Table.Th>
              <Table.Td>{box(s.read ?? s.other?.permission, `${s.other ? s.other.label : "See"}: ${s.label}`)}</Table.Td>
              <Table.Td>{box(s.write, `Change: ${s.label}`)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      {!readOnly && !holds.includes("admin") && <Text size="xs" c="dimmed" mt={6}>What you do not hold yourself you cannot give.</Text>}
    </div>
  );
}
