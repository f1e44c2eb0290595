import { Alert, Loader, Stack, Text } from "@mantine/core";
import { IconAlertTriangle, IconCheck } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { api, body } from "~/api/client";
import { isOver } from "~/api/operation";
import { ButtonLink } from "~/ui/link";
import { OperationMark } from "~/ui/operation-mark";
import { ErrorState } from "~/ui/states";

/** Follows the deletion of a tenant, also when the tenant itself is gone. */
export function Deleting({ id, tenant }: { id: string; tenant: string }) {
  const query = useQuery({
    queryKey: ["platform-operation", id],
    queryFn: ({ signal }) => body(api.GET("/operations/{operation}", { params: { path: { operation: id } }, signal })),
    staleTime: 0,
    refetchInterval: ({ state }) => (isOver(state.data) ? false : 1000),
  });
  const o = query.data;
  const back = <ButtonLink to="/tenants" variant="default" w="fit-content">All tenants</ButtonLink>;
  if (query.isError && !o) return <ErrorState error={query.error} title="It is not known how far it is" onRetry={() => void query.refetch()} />;
  if (o?.state === "done") return <Stack><Alert color="green" icon={<IconCheck aria-hidden />} title={`${tenant} is deleted`} role="status">Its audit records stay.</Alert>{back}</Stack>;
  if (o?.state === "failed") return <Stack><Alert color="red" icon={<IconAlertTriangle aria-hidden />} title={`${tenant} could not be deleted`} role="alert">{o.error} Delete it again once the cause is gone; what is deleted already stays so.</Alert>{back}</Stack>;
  return (
    <Stack>
      <Alert color="accent" icon={<Loader size={18} aria-hidden />} title={`${tenant} is being deleted`} role="status">
        It takes no call any more. You can leave this page; it goes on.
        <Text size="sm" mt={6} component="div">{o && <OperationMark state={o.state} />} {o?.attempts && o.attempts > 1 ? `Attempt ${o.attempts}.` : ""} {o?.error}</Text>
      </Alert>
      {back}
    </Stack>
  );
}
