import { NumberInput, SimpleGrid } from "@mantine/core";
import type { Schemas } from "~/api/client";
import { quotaNames, type QuotaName } from "~/ui/quota";

export type QuotaValues = Record<QuotaName, number | "">;
export const quotaFields = Object.keys(quotaNames) as QuotaName[];
export const noQuotas: QuotaValues = { servers: "", members: "", roles: "", api_keys: "" };

export const quotaValues = (quotas: Schemas["QuotasUsed"]): QuotaValues => ({ servers: quotas.servers.limit, members: quotas.members.limit, roles: quotas.roles.limit, api_keys: quotas.api_keys.limit });

/** What to send: fields that are empty are left to the platform's defaults. */
export function quotasOf(values: QuotaValues): Schemas["Quotas"] {
  return Object.fromEntries(quotaFields.flatMap((name) => (values[name] === "" ? [] : [[name, values[name]]])));
}

interface Props {
  values: QuotaValues;
  onChange: (values: QuotaValues) => void;
  errors?: Partial<Record<string, React.ReactNode>>;
  used?: Schemas["QuotasUsed"];
}

export function QuotaFields({ values, onChange, errors, used }: Props) {
  return (
    <SimpleGrid cols={{ base: 2, sm: 4 }} spacing="sm">
      {quotaFields.map((name) => (
        <NumberInput
          key={name} label={quotaNames[name]} min={0} allowDecimal={false} allowNegative={false} thousandSeparator="," hideControls placeholder="default"
          description={used ? `${used[name].used.toLocaleString("en")} in use` : undefined} error={errors?.[`quotas.${name}`]}
          value={values[name]} onChange={(v) => onChange({ ...values, [name]: v === "" ? "" : Number(v) })}
        />
      ))}
    </SimpleGrid>
  );
}
