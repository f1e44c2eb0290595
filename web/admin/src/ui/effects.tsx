import { List, Text } from "@mantine/core";
import type { Schemas } from "~/api/client";

/** What a dry run said would go. */
export function Effects({ effects }: { effects: Schemas["Deletion"]["effects"] }) {
  const real = effects.filter((e) => e.count > 0);
  if (real.length === 0) return <Text size="sm">Nothing else goes with it.</Text>;
  return (
    <div>
      <Text size="sm" fw={550} mb={4}>This goes with it:</Text>
      <List size="sm" spacing={2}>
        {real.map((e) => <List.Item key={e.what}><span className="num">{e.count.toLocaleString("en")}</span> {e.what}</List.Item>)}
      </List>
    </div>
  );
}
