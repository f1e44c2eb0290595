import { Alert, Button, Group, Loader, Stack, Text } from "@mantine/core";
import { IconAlertTriangle, IconCircleCheck, IconKey, IconRefresh } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useId } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import { explainCode } from "~/lib/codes";
import { duration } from "~/lib/time";
import { count } from "~/lib/words";
import { Findings } from "~/ui/change-class";
import { Facts } from "~/ui/facts";
import { Section } from "~/ui/section";
import { ErrorState } from "~/ui/states";
import { OfferedTools } from "./offered-tools";
import { useSave, type Draft } from "./use-save";

interface Props {
  draft: Draft;
  /** Calls run with an account that nobody has connected yet, so there is nothing to try it with. */
  account: boolean;
  onBack: () => void;
  onConnection: () => void;
}

/** Opens the server as it is declared, on a worker, and saves nothing; what was found stands here before the draft is saved. */
export function StepLive({ draft, account, onBack, onConnection }: Props) {
  const attempt = useId();
  const save = useSave(draft);
  const query = useQuery({
    // By attempt: what is sent holds secrets, and a key would keep them.
    queryKey: ["live-check", attempt],
    queryFn: ({ signal }) => body(api.POST("/tenants/{tenant}/servers/{server}/live-check", {
      params: { path: at({ server: draft.about.slug }) },
      body: { kind: draft.about.kind, spec_yaml: draft.spec, ...(draft.connection && !draft.saved ? { connection: draft.connection() } : {}) }, signal,
    })),
    enabled: !account, gcTime: 0, staleTime: Infinity, retry: false, refetchOnWindowFocus: false, refetchOnReconnect: false,
  });
  const works = query.data?.ok === true;
  return (
    <Stack gap="md" maw={860}>
      {account ? (
        <Alert color="accent" icon={<IconKey aria-hidden />} title="It needs an account first">Save the draft; then connect the account on the server's page. The platform asks for its tools as soon as there is one.</Alert>
      ) : query.isFetching ? (
        <Section title="Trying it live"><Group gap="sm" role="status"><Loader size={16} aria-hidden /><Text size="sm" c="dimmed">A worker opens it and asks what it offers. A package is installed for it first; that takes up to 20 seconds.</Text></Group></Section>
      ) : query.isError ? <ErrorState error={query.error} title="It could not be tried" onRetry={() => void query.refetch()} /> : query.data && <Found check={query.data} />}
      {save.isError && <ErrorState error={save.error} title="The draft was not saved" />}
      <Group justify="space-between">
        <Group gap="xs">
          <Button variant="default" onClick={onBack}>Back to the spec</Button>
          {!works && !draft.saved && !query.isFetching && <Button variant="default" onClick={onConnection}>Change the connection</Button>}
          {!account && !query.isFetching && <Button variant="subtle" leftSection={<IconRefresh size={15} aria-hidden />} onClick={() => void query.refetch()}>Try again</Button>}
        </Group>
        <Button variant={works || account ? "filled" : "default"} disabled={query.isFetching} loading={save.isPending} onClick={() => save.mutate()}>{works || account ? "Save the draft" : "Save the draft all the same"}</Button>
      </Group>
    </Stack>
  );
}

function Found({ check }: { check: Schemas["LiveCheck"] }) {
  if (!check.ok) return <Failed check={check} />;
  const { offer } = check;
  return (
    <Stack gap="sm">
      <Alert color="green" icon={<IconCircleCheck aria-hidden />} title={`It answers${check.latency_ms === undefined ? "" : `, in ${duration(check.latency_ms)}`}`} role="status">
        {offer ? "When it is saved, this is what is agreed to. What it changes later waits for a decision." : "What it offers stands in the spec."}
      </Alert>
      {offer && (
        <Facts label="Upstream" facts={[
          ["Upstream", [offer.name, offer.version].filter(Boolean).join(" ")],
          ["Speaks", offer.protocol && `MCP ${offer.protocol}`],
          ["Offers", `${count(offer.tools, "tool")}, ${count(offer.resources, "resource")}, ${count(offer.prompts, "prompt")}`],
        ]} />
      )}
      <OfferedTools tools={check.tools} label="What would be offered here" says=" would be offered here" />
      <Findings findings={check.findings} />
    </Stack>
  );
}

function Failed({ check: { failure, problems } }: { check: Schemas["LiveCheck"] }) {
  return (
    <Alert color="red" icon={<IconAlertTriangle aria-hidden />} title={failure ? "It does not answer as it should" : "What it offers does not fit"} role="alert">
      {failure && <Text size="sm">{failure.message}</Text>}
      {problems.length > 0 && (
        <ul>{problems.map((p) => <li key={`${p.pointer} ${p.line} ${p.detail}`}><span className="mono">{p.pointer}</span> {p.detail}{p.fix && <>; {p.fix}</>}</li>)}</ul>
      )}
      {failure && <Text size="sm" mt={6}><b>What to do.</b> {advice[failure.code] ?? explainCode(failure.code).todo}</Text>}
      {failure && <Text size="xs" c="dimmed" mt={6}>Code <span className="mono">{failure.code}</span></Text>}
    </Alert>
  );
}

/** Where a code says something else while one sets a server up than about a call that failed. */
const advice: Record<string, string> = {
  credentials_unavailable: "Look at the token, key or password, and at how it is sent.",
  upstream_unavailable: "Look at the address, and whether the system runs and can be reached from the workers.",
  server_unhealthy: "Look at the address or the package's name and version, and whether the system runs.",
  deadline_exceeded: "It did not answer in time. Try again; a package may still be installing.",
};
