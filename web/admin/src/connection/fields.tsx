import { Button, Checkbox, Fieldset, Grid, NumberInput, PasswordInput, Select, Stack, TagsInput, TextInput, Textarea } from "@mantine/core";
import type { UseFormReturnType } from "@mantine/form";
import { IconChevronDown, IconChevronRight } from "@tabler/icons-react";
import { useId, useState } from "react";
import { differs, fromDeclared, seldom, sslmodes, type SQLConnection } from "./sql";

interface Props {
  form: UseFormReturnType<SQLConnection>;
  /** The connection whose password Vault has. */
  kept?: SQLConnection;
}

/** Where the database is, and as whom Vault makes users on it. */
export function ConnectionFields({ form, kept }: Props) {
  const password = !kept ? "Goes to Vault only and is never shown"
    : differs(form.values, kept) ? "Needed again, as something else has changed: what Vault has is never sent to another place"
    : "Set. Empty keeps it, as long as nothing else changes";
  return (
    <Stack gap="md" maw={720}>
      <Fieldset legend="Database">
        <Grid gap="sm">
          <Grid.Col span={{ base: 12, sm: 8 }}><TextInput label="Host" autoComplete="off" spellCheck={false} {...form.getInputProps("host")} /></Grid.Col>
          <Grid.Col span={{ base: 12, sm: 4 }}><Whole label="Port" max={65535} {...form.getInputProps("port")} /></Grid.Col>
          <Grid.Col span={{ base: 12, sm: 6 }}><TextInput label="Database" autoComplete="off" spellCheck={false} {...form.getInputProps("database")} /></Grid.Col>
          <Grid.Col span={{ base: 12, sm: 6 }}><Select label="Encryption" data={sslmodes} allowDeselect={false} {...form.getInputProps("sslmode")} /></Grid.Col>
        </Grid>
      </Fieldset>
      <Fieldset legend="Account that Vault uses">
        <Grid gap="sm">
          <Grid.Col span={{ base: 12, sm: 6 }}><TextInput label="Account" description="May create roles; tools never see it" autoComplete="off" spellCheck={false} {...form.getInputProps("username")} /></Grid.Col>
          <Grid.Col span={{ base: 12, sm: 6 }}><PasswordInput label="Password" description={password} autoComplete="new-password" visibilityToggleButtonProps={{ "aria-label": "Show the password" }} {...form.getInputProps("password")} /></Grid.Col>
        </Grid>
      </Fieldset>
      <Fieldset legend="What tools may do">
        <Grid gap="sm">
          <Grid.Col span={{ base: 12, sm: 6 }}><TagsInput label="Roles for reading" description="Database roles; Enter after each" {...form.getInputProps("read")} /></Grid.Col>
          <Grid.Col span={{ base: 12, sm: 6 }}><TagsInput label="Roles for writing" description="Only for tools that change something" {...form.getInputProps("write")} /></Grid.Col>
        </Grid>
      </Fieldset>
      <Seldom form={form} />
    </Stack>
  );
}

/** Open from the start where something of it is declared, and whenever something of it is wrong. */
function Seldom({ form }: Pick<Props, "form">) {
  const id = useId();
  const [open, setOpen] = useState(() => {
    const standard = fromDeclared(undefined);
    return seldom.some((field) => form.values[field] !== standard[field]);
  });
  const shown = open || seldom.some((field) => form.errors[field]);
  const Mark = shown ? IconChevronDown : IconChevronRight;
  return (
    <>
      <Button variant="subtle" w="fit-content" leftSection={<Mark size={15} aria-hidden />} aria-expanded={shown} aria-controls={id} onClick={() => setOpen(!shown)}>Certificate, replica and credentials</Button>
      <div id={id} hidden={!shown}>
        {shown && (
          <Fieldset legend="What most leave as it is">
            <Grid gap="sm">
              <Grid.Col span={12}><Textarea label="Root certificate" description="PEM, where an authority of your own signed the database's certificate" autosize minRows={1} maxRows={8} spellCheck={false} {...form.getInputProps("sslrootcert")} /></Grid.Col>
              <Grid.Col span={{ base: 12, sm: 8 }}><TextInput label="Replica's host" description="Reading tools go there" autoComplete="off" spellCheck={false} {...form.getInputProps("replicaHost")} /></Grid.Col>
              <Grid.Col span={{ base: 12, sm: 4 }}><Whole label="Replica's port" description="Of its host" max={65535} {...form.getInputProps("replicaPort")} /></Grid.Col>
              <Grid.Col span={{ base: 12, sm: 4 }}><TextInput label="A credential lives" description="Such as 10m" autoComplete="off" {...form.getInputProps("ttl")} /></Grid.Col>
              <Grid.Col span={{ base: 12, sm: 4 }}><Select label="Writing tools get" description="Reading tools share one" allowDeselect={false} data={[{ value: "per_call", label: "a credential for each call" }, { value: "cached", label: "one for several calls" }]} {...form.getInputProps("writes")} /></Grid.Col>
              <Grid.Col span={{ base: 12, sm: 4 }}><Whole label="Connections at once" description="1 to 100" max={100} {...form.getInputProps("connections")} /></Grid.Col>
              <Grid.Col span={12}><Checkbox label="A database user for each person" {...form.getInputProps("perUser", { type: "checkbox" })} /></Grid.Col>
            </Grid>
          </Fieldset>
        )}
      </div>
    </>
  );
}

function Whole(props: { label: string; description?: string; max: number }) {
  return <NumberInput hideControls min={1} allowDecimal={false} {...props} />;
}
