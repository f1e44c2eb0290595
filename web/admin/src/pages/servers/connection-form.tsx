import { Fieldset, Grid, NumberInput, PasswordInput, Select, Stack, TagsInput, TextInput } from "@mantine/core";
import type { UseFormReturnType } from "@mantine/form";
import { sslmodes, type SQLConnection } from "./sql-connection";

/** Where the database is, and as whom Vault makes users on it. */
export function ConnectionFields({ form }: { form: UseFormReturnType<SQLConnection> }) {
  return (
    <Stack gap="md" maw={720}>
      <Fieldset legend="Database">
        <Grid gap="sm">
          <Grid.Col span={{ base: 12, sm: 8 }}><TextInput label="Host" autoComplete="off" spellCheck={false} {...form.getInputProps("host")} /></Grid.Col>
          <Grid.Col span={{ base: 12, sm: 4 }}><NumberInput label="Port" hideControls min={1} max={65535} allowDecimal={false} {...form.getInputProps("port")} /></Grid.Col>
          <Grid.Col span={{ base: 12, sm: 6 }}><TextInput label="Database" autoComplete="off" spellCheck={false} {...form.getInputProps("database")} /></Grid.Col>
          <Grid.Col span={{ base: 12, sm: 6 }}><Select label="Encryption" data={sslmodes} allowDeselect={false} {...form.getInputProps("sslmode")} /></Grid.Col>
        </Grid>
      </Fieldset>
      <Fieldset legend="Account that Vault uses">
        <Grid gap="sm">
          <Grid.Col span={{ base: 12, sm: 6 }}><TextInput label="Account" description="May create roles; tools never see it" autoComplete="off" spellCheck={false} {...form.getInputProps("username")} /></Grid.Col>
          <Grid.Col span={{ base: 12, sm: 6 }}><PasswordInput label="Password" description="Goes to Vault only and is never shown" autoComplete="new-password" visibilityToggleButtonProps={{ "aria-label": "Show the password" }} {...form.getInputProps("password")} /></Grid.Col>
        </Grid>
      </Fieldset>
      <Fieldset legend="What tools may do">
        <Grid gap="sm">
          <Grid.Col span={{ base: 12, sm: 6 }}><TagsInput label="Roles for reading" description="Database roles; Enter after each" {...form.getInputProps("read")} /></Grid.Col>
          <Grid.Col span={{ base: 12, sm: 6 }}><TagsInput label="Roles for writing" description="Only for tools that change something" {...form.getInputProps("write")} /></Grid.Col>
        </Grid>
      </Fieldset>
    </Stack>
  );
}
