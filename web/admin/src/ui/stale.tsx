import { Alert, Button, Text } from "@mantine/core";
import { IconUsers } from "@tabler/icons-react";

/** After a 412: what one edited is no longer what stands there. */
export function StaleAlert({ what, onReload }: { what: string; onReload: () => void }) {
  return (
    <Alert color="amber" icon={<IconUsers aria-hidden />} title="Somebody changed this meanwhile" role="alert">
      <Text size="sm">{what} was changed after you opened it, so nothing of yours was saved. Load it again, then repeat your change.</Text>
      <Button mt="sm" variant="default" onClick={onReload}>Load the newest</Button>
    </Alert>
  );
}
