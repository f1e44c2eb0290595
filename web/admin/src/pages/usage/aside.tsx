import { Badge, Table, Text } from "@mantine/core";
import { useCan } from "~/api/me";
import { categories, categoryLabel, type Category } from "~/lib/codes";
import { exactTime } from "~/lib/time";
import { TextLink } from "~/ui/link";
import { Section } from "~/ui/section";
import { errorRows, isLoop, narrowing, percent, type Usage, type UsageSearch } from "./model";

interface Props {
  usage: Usage;
  search: UsageSearch;
}

/** What went wrong, by kind; each leads to its records. */
export function Errors({ usage, search }: Props) {
  const can = useCan();
  const rows = errorRows(usage.totals);
  return (
    <Section title="What did not work" says="By category, refusals included.">
      {rows.length === 0 ? <Text size="sm" c="dimmed">Nothing failed and nobody was refused.</Text> : (
        <Table aria-label="Errors by category">
          <Table.Thead><Table.Tr><Table.Th scope="col">Category</Table.Th><Table.Th scope="col" ta="right">Calls</Table.Th><Table.Th scope="col" ta="right">Of all</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>
            {rows.map(({ category, calls }) => (
              <Table.Tr key={category}>
                <Table.Th scope="row" fw={450}>
                  {can("audit:read") ? <TextLink to="/audit" search={{ range: search.range ?? "24h", ...narrowing(search), category: category as Category }}>{categoryLabel(category)}</TextLink> : categoryLabel(category)}
                  <Text size="xs" c="dimmed">{categories[category as Category]?.says}</Text>
                </Table.Th>
                <Table.Td ta="right" className="num">{calls.toLocaleString("en")}</Table.Td>
                <Table.Td ta="right" className="num">{percent(calls, usage.totals.calls)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Section>
  );
}

/** An agent that runs in a loop shows as one person's minute with very many calls. */
export function Busiest({ usage, search }: Props) {
  const can = useCan();
  const all = usage.busiest ?? [];
  return (
    <Section title="Busiest minutes" says="Each person's busiest minute. A loop stands out here.">
      {all.length === 0 ? <Text size="sm" c="dimmed">No call by a person in this time.</Text> : (
        <Table aria-label="Busiest minutes">
          <Table.Thead><Table.Tr><Table.Th scope="col">Person</Table.Th><Table.Th scope="col">Minute</Table.Th><Table.Th scope="col" ta="right">Calls</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>
            {all.map((b) => (
              <Table.Tr key={`${b.member} ${b.at}`}>
                <Table.Th scope="row" fw={450}>{b.member} {isLoop(b.calls, all) && <Badge color="amber" ml={4}>looks like a loop</Badge>}</Table.Th>
                <Table.Td className="num">
                  {can("audit:read") ? <TextLink to="/audit" search={{ ...narrowing(search), member: b.member, since: b.at, until: new Date(new Date(b.at).getTime() + 60_000).toISOString() }}>{exactTime(b.at).replace(/:\d\d$/, "")}</TextLink> : exactTime(b.at)}
                </Table.Td>
                <Table.Td ta="right" className="num">{b.calls.toLocaleString("en")}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Section>
  );
}
