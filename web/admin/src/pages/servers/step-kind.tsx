import { Button, Group, Radio, Stack, Text, Textarea, TextInput } from "@mantine/core";
import type { UseFormReturnType } from "@mantine/form";
import { useDisclosure } from "@mantine/hooks";
import { IconFileImport } from "@tabler/icons-react";
import type { Schemas } from "~/api/client";
import { slugFrom } from "~/lib/form";
import { ImportDialog } from "./import-dialog";
import type { About } from "./wizard";
import classes from "./wizard.module.css";

interface Props {
  kinds: Schemas["Kind"][];
  form: UseFormReturnType<About>;
  onNext: () => void;
  onImported: (slug: string, server: Schemas["ServerPut"]) => void;
}

export function StepKind({ kinds, form, onNext, onImported }: Props) {
  const [importing, dialog] = useDisclosure();
  const title = form.getInputProps("title");
  return (
    <>
      <form noValidate onSubmit={form.onSubmit(onNext)}>
        <Stack gap="md" maw={720}>
          <Group justify="space-between" gap="xs"><Text size="sm" c="dimmed">Or begin with what a registry says of a server.</Text><Button variant="default" leftSection={<IconFileImport size={15} aria-hidden />} onClick={dialog.open}>Import a server.json</Button></Group>
          <Radio.Group label="Kind" {...form.getInputProps("kind")}>
            <div className={classes.kinds}>
              {kinds.map((k) => (
                <Radio.Card key={k.name} value={k.name} className={classes.kind}>
                  <Radio.Indicator />
                  <div>
                    <Text size="sm" fw={600}>{k.title}</Text>
                    <Text size="sm" c="dimmed">{k.description}</Text>
                  </div>
                </Radio.Card>
              ))}
            </div>
          </Radio.Group>
          <TextInput label="Title" description="What people see when they connect" autoComplete="off" {...title}
            onChange={(e) => {
              // The slug follows the title until somebody writes one of their own.
              if (form.values.slug === slugFrom(form.values.title)) form.setFieldValue("slug", slugFrom(e.currentTarget.value));
              title.onChange(e);
            }} />
          <TextInput label="Slug" description="Part of its URL; stays as it is" autoComplete="off" spellCheck={false} {...form.getInputProps("slug")} />
          <Textarea label="Description" description="For people who choose among servers" autosize minRows={2} {...form.getInputProps("description")} />
          <Group justify="flex-end"><Button type="submit">Next</Button></Group>
        </Stack>
      </form>
      <ImportDialog opened={importing} onClose={dialog.close} onImported={(slug, server) => { dialog.close(); onImported(slug, server); }} />
    </>
  );
}
