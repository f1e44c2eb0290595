import { Button, Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useCan } from "~/api/me";
import { Loaded } from "~/ui/states";
import { revisionQuery, type Server } from "./queries";
import { TryTool } from "./try-tool";

export function StepTry({ server, onBack, onNext }: { server: Server; onBack: () => void; onNext: () => void }) {
  const can = useCan();
  const [tool, setTool] = useState<string>();
  const number = server.latest_revision ?? 1;
  const query = useQuery({ ...revisionQuery(server.slug, number), enabled: can("tools:try") });
  return (
    <Stack gap="md">
      {can("tools:try") ? (
        <Loaded query={query}>{(r) => <TryTool server={server.slug} revision={number} tools={r.tools} tool={tool} onPick={setTool} />}</Loaded>
      ) : (
        <Text size="sm" c="dimmed">Trying a tool needs the permission tools:try, which your roles do not have. You can publish all the same.</Text>
      )}
      <Group justify="space-between"><Button variant="default" onClick={onBack}>Back to the spec</Button><Button onClick={onNext}>Next</Button></Group>
    </Stack>
  );
}
