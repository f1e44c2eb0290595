import { Alert, Button, Group, Loader, Stack, Text } from "@mantine/core";
import { IconCircleCheck, IconRefresh } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useId } from "react";
import { api, at, body } from "~/api/client";
import { Section } from "~/ui/section";
import { ErrorState } from "~/ui/states";
import { OfferedTools } from "./offered-tools";
import { serverQuery, type Server } from "./queries";

/** Asks the upstream what it offers and agrees to it: only then are there tools to try and scopes to open. The platform goes on asking by itself. */
export function StepDiscover({ server: saved, onBack, onNext }: { server: Server; onBack: () => void; onNext: (server: Server) => void }) {
  const client = useQueryClient();
  const attempt = useId();
  const query = useQuery({
    queryKey: ["discovery", saved.slug, attempt],
    queryFn: async ({ signal }) => {
      const path = at({ server: saved.slug });
      const { revision, problem } = await body(api.POST("/tenants/{tenant}/servers/{server}/discovery", { params: { path }, signal }));
      if (problem) throw new Error(problem);
      const { data: server } = await client.fetchQuery({ ...serverQuery(saved.slug), staleTime: 0 });
      const number = revision ?? server.latest_revision ?? 1;
      const found = await body(api.GET("/tenants/{tenant}/servers/{server}/revisions/{revision}", { params: { path: at({ server: saved.slug, revision: number }) }, signal }));
      return { server: { ...server, latest_revision: number }, tools: found.tools };
    },
    gcTime: 0, staleTime: Infinity, retry: false, refetchOnWindowFocus: false, refetchOnReconnect: false,
  });
  const found = query.isFetching ? undefined : query.data;
  return (
    <Stack gap="md" maw={860}>
      {query.isFetching ? (
        <Section title="Being discovered"><Group gap="sm" role="status"><Loader size={16} aria-hidden /><Text size="sm" c="dimmed">The platform asks {saved.title || saved.slug} what it offers, for 20 seconds at most.</Text></Group></Section>
      ) : query.isError ? <ErrorState error={query.error} title="It has not worked yet" /> : found && (
        <>
          <Alert color="green" icon={<IconCircleCheck aria-hidden />} title="It has said what it offers" role="status">That is agreed to now. What it changes later waits for a decision on its page.</Alert>
          <OfferedTools tools={found.tools} label="What it offers" />
        </>
      )}
      <Group justify="space-between">
        <Group gap="xs">
          <Button variant="default" onClick={onBack}>Back to the spec</Button>
          {query.isError && !query.isFetching && <Button variant="subtle" leftSection={<IconRefresh size={15} aria-hidden />} onClick={() => void query.refetch()}>Ask again</Button>}
        </Group>
        <Button disabled={!found} onClick={() => found && onNext(found.server)}>Next</Button>
      </Group>
    </Stack>
  );
}
