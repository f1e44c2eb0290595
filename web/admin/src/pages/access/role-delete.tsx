import { useQueryClient } from "@tanstack/react-query";
import { api, at, body } from "~/api/client";
import { ConfirmDialog } from "~/ui/confirm";
import { toast } from "~/ui/toast";

export function DeleteRole({ role, onClose }: { role: string | undefined; onClose: () => void }) {
  const client = useQueryClient();
  const call = (dryRun: boolean) => body(api.DELETE("/tenants/{tenant}/roles/{role}", { params: { path: at({ role: role! }), query: { dry_run: dryRun } } }));
  return (
    <ConfirmDialog
      opened={role !== undefined} onClose={onClose} title={`Delete the role ${role ?? ""}`} action="Delete the role" danger typed={role}
      dryRun={{ key: ["role", role], read: () => call(true) }}
      onConfirm={async () => {
        await call(false);
        toast.done(`The role ${role} is deleted.`);
        await client.invalidateQueries();
      }}
    >
      Everyone who holds it loses what only it opened, from their next call on.
    </ConfirmDialog>
  );
}
