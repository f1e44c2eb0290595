import { Button, Group, Stack, Tabs, Text } from "@mantine/core";
import { boot } from "~/boot";
import type { Schemas } from "~/api/client";
import { keyHelp } from "~/lib/key-help";
import { CodeView } from "./code";
import { SecretOnce } from "./copy";

/** The only time a key is shown, and how to use it. */
export function KeyCreated({ created, onClose }: { created: Schemas["APIKeyCreated"]; onClose: () => void }) {
  const base = boot.mode === "tenant" ? boot.base : "/ops";
  const help = keyHelp({ api: location.origin + boot.api, tenant: boot.mode === "tenant" ? boot.tenant : undefined, token: `${location.origin}${base}/token`, id: created.key.id });
  return (
    <Stack gap="md">
      <SecretOnce value={created.secret} label="key">The platform keeps only a hash of it. Put it where your script reads its secrets.</SecretOnce>
      <Text size="sm" mb={-8}>In a shell: run this, paste the key, press Enter.</Text>
      <CodeView value={help.env} label="Put the key into the shell" />
      <Tabs defaultValue="direct">
        <Tabs.List aria-label="How to use it">
          <Tabs.Tab value="direct">Use it directly</Tabs.Tab>
          <Tabs.Tab value="exchange">Client credentials</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="direct" pt="sm"><CodeView value={help.direct} label="A request with the key" /></Tabs.Panel>
        <Tabs.Panel value="exchange" pt="sm">
          <Text size="sm" c="dimmed" mb={8}>Trades the key for a token of some minutes (RFC 6749, section 4.4), so that the key itself travels seldom.</Text>
          <CodeView value={help.exchange} label="Trade the key for a token" />
        </Tabs.Panel>
      </Tabs>
      <Group justify="flex-end"><Button onClick={onClose}>I have copied it</Button></Group>
    </Stack>
  );
}
