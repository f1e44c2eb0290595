import { Tabs, Text } from "@mantine/core";
import { connectHelp } from "~/lib/connect";
import { CodeView } from "./code";
import { CopyField } from "./copy";

/** The URL of a server and how each client takes it. */
export function ConnectHelp({ slug, url }: { slug: string; url: string }) {
  const clients = connectHelp(slug, url);
  return (
    <div>
      <CopyField value={url} label={`MCP URL of ${slug}`} />
      <Tabs defaultValue={clients[0]!.id} mt="sm">
        <Tabs.List aria-label="Client">
          {clients.map((c) => <Tabs.Tab key={c.id} value={c.id}>{c.label}</Tabs.Tab>)}
        </Tabs.List>
        {clients.map((c) => (
          <Tabs.Panel key={c.id} value={c.id} pt="sm">
            <Text size="sm" c="dimmed" mb={8}>{c.steps}</Text>
            <CodeView value={c.code} label={`For ${c.label}`} />
          </Tabs.Panel>
        ))}
      </Tabs>
    </div>
  );
}
