import { MultiSelect, TagsInput, type MultiSelectProps } from "@mantine/core";
import { useRoleChoices } from "~/api/choices";
import { useMe } from "~/api/me";
import { allows } from "~/api/me";

type Props = Pick<MultiSelectProps, "value" | "onChange" | "label" | "description" | "error" | "readOnly" | "aria-label" | "placeholder">;

/** Roles to hold. One that opens more on the platform than oneself holds is shown and cannot be chosen: the platform would refuse it. */
export function RoleSelect({ value, ...props }: Props) {
  const me = useMe();
  const roles = useRoleChoices();
  const holds = me.kind === "operator" ? ["admin"] : me.permissions;
  const data = (roles.data ?? []).map((r) => ({ value: r.name, label: r.name, disabled: !value?.includes(r.name) && !r.permissions.every((p) => allows(holds, p)) }));
  const common = { ...props, value, comboboxProps: { shadow: "md" }, clearable: true, clearButtonProps: { "aria-label": "Clear all roles" } };
  // Who may not read roles can still name them.
  if (!roles.data && !roles.isFetching) return <TagsInput {...common} />;
  for (const name of value ?? []) if (!data.some((d) => d.value === name)) data.push({ value: name, label: name, disabled: false });
  return <MultiSelect {...common} data={data} searchable hidePickedOptions nothingFoundMessage="No such role" />;
}
