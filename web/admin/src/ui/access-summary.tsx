import { Badge, Group, Stack, Text, Title } from "@mantine/core";
import type { Schemas } from "~/api/client";
import { permissionWords } from "~/lib/permissions";
import { list } from "~/lib/words";
import { RiskMark } from "./risk";
import classes from "./access-summary.module.css";

/** What a person can call, server by server, and which role opens it. */
export function AccessSummary({ access }: { access: Schemas["EffectiveAccess"] }) {
  return (
    <Stack gap="md">
      {access.servers.length === 0 && <Text size="sm" c="dimmed">No server is open to them.</Text>}
      {access.servers.map((s) => (
        <section key={s.server} aria-label={s.title || s.server}>
          <Title order={3} mb={6}>{s.title || s.server}</Title>
          <ul className={classes.scopes}>
            {s.scopes.map((o) => (
              <li key={o.scope} className={classes.scope}>
                <Group justify="space-between" gap="xs" align="baseline">
                  <span className="mono">{o.scope}</span>
                  <Text span size="xs" c="dimmed">opened by {list(o.roles)}</Text>
                </Group>
                <ul className={classes.tools}>{o.tools.map((t) => <li key={t.name}><RiskMark risk={t.risk} bare />{t.title || t.name}</li>)}</ul>
              </li>
            ))}
            {s.closed_tools.length > 0 && <li className={classes.closed}>Closed: {list(s.closed_tools.map((t) => t.title || t.name), 6)}</li>}
          </ul>
        </section>
      ))}
      <section>
        <Title order={3} mb={2}>On the platform</Title>
        <Text size="sm" c="dimmed">{permissionWords(access.permissions.map((p) => p.permission))}</Text>
        {access.permissions.length > 0 && <Group gap={4} mt={6}>{access.permissions.map((p) => <Badge key={p.permission} title={`by ${list(p.roles)}`}>{p.permission}</Badge>)}</Group>}
      </section>
    </Stack>
  );
}
