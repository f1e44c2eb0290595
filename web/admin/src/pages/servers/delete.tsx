import { Loader, Modal, Stack, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import { useOperation } from "~/api/operation";
import { ConfirmDialog } from "~/ui/confirm";
import { ErrorState } from "~/ui/states";
import { toast } from "~/ui/toast";

interface Props {
  server: string;
  etag: string;
  opened: boolean;
  onClose: () => void;
}

/** Deletes after the slug was typed, and stays until the platform has taken everything down. */
export function DeleteServer({ server, etag, opened, onClose }: Props) {
  const [operation, setOperation] = useState<string>();
  const call = (dryRun: boolean) => body(api.DELETE("/tenants/{tenant}/servers/{server}", { params: { path: at({ server }), query: { dry_run: dryRun }, header: dryRun ? {} : { "If-Match": etag } } }));
  return (
    <>
      <ConfirmDialog
        opened={opened && !operation} onClose={onClose} title={`Delete the server ${server}`} action="Delete the server" danger typed={server}
        dryRun={{ key: ["server", server], read: async () => (await call(true)) as Schemas["Deletion"] }}
        onConfirm={async () => setOperation(((await call(false)) as Schemas["Operation"]).id)}
      >
        Its URL stops answering at once. Audit records stay. This cannot be undone.
      </ConfirmDialog>
      {operation && <Progress server={server} operation={operation} onClose={() => { setOperation(undefined); onClose(); }} />}
    </>
  );
}

function Progress({ server, operation, onClose }: { server: string; operation: string; onClose: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const { data, error, refetch } = useOperation(operation);
  const state = data?.state;
  useEffect(() => {
    if (state !== "done") return;
    toast.done(`${server} is deleted.`);
    void navigate({ to: "/servers" }).then(() => {
      client.removeQueries({ queryKey: ["servers", server] });
      return client.invalidateQueries();
    });
  }, [state, server, client, navigate]);
  return (
    <Modal opened onClose={onClose} title={`Deleting ${server}`}>
      <Stack align="center" gap="sm" py="md" role="status">
        {state === "failed" ? <ErrorState error={new Error(data?.error ?? "The platform gave up.")} title="It could not be deleted" /> : error ? <ErrorState error={error} onRetry={() => void refetch()} /> : (
          <>
            <Loader />
            <Text size="sm" c="dimmed">Taking down revisions, credentials and grants. You can close this; it goes on.</Text>
          </>
        )}
      </Stack>
    </Modal>
  );
}
