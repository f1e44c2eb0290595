import { Progress, Table } from "@mantine/core";
import type { Schemas } from "~/api/client";

type Quotas = Schemas["QuotasUsed"];
export const quotaNames = { servers: "Servers", members: "People", roles: "Roles", api_keys: "API keys" } as const satisfies Record<keyof Quotas, string>;
export type QuotaName = keyof typeof quotaNames;

/** How full something is, in words for whoever does not see the bar. */
export function Meter({ label, used, limit, low }: { label: string; used: number; limit: number; /** Full is good news or none, as for busy workers. */ low?: boolean }) {
  const share = limit === 0 ? (used > 0 ? 1 : 0) : used / limit;
  const color = low ? "accent" : share >= 1 ? "red" : share >= 0.8 ? "amber" : "accent";
  return (
    <Progress.Root size={8} radius="xl" miw={80}>
      <Progress.Section value={Math.min(100, share * 100)} color={color} aria-label={label} aria-valuetext={`${used} of ${limit}`} />
    </Progress.Root>
  );
}

export function QuotaTable({ quotas }: { quotas: Quotas }) {
  return (
    <Table aria-label="Quotas" verticalSpacing={9}>
      <Table.Thead><Table.Tr><Table.Th scope="col">What</Table.Th><Table.Th scope="col" w="45%">How full</Table.Th><Table.Th scope="col" ta="right">In use</Table.Th></Table.Tr></Table.Thead>
      <Table.Tbody>
        {(Object.keys(quotaNames) as QuotaName[]).map((name) => {
          const { used, limit } = quotas[name];
          return (
            <Table.Tr key={name}>
              <Table.Th scope="row" fw={450}>{quotaNames[name]}</Table.Th>
              <Table.Td><Meter label={quotaNames[name]} used={used} limit={limit} /></Table.Td>
              <Table.Td ta="right" className="num nowrap">{used.toLocaleString("en")} of {limit.toLocaleString("en")}</Table.Td>
            </Table.Tr>
          );
        })}
      </Table.Tbody>
    </Table>
  );
}
