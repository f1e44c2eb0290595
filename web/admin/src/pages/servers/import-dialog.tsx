import { Alert, Button, Group, Modal, PasswordInput, Select, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import { count } from "~/lib/words";
import { Facts } from "~/ui/facts";
import { ErrorState } from "~/ui/states";
import { fill, missingKey } from "./import";

type Proposal = Schemas["ImportProposal"];

interface Props {
  opened: boolean;
  onClose: () => void;
  onImported: (slug: string, server: Schemas["ServerPut"]) => void;
}

/** Makes of a registry's server.json what the steps after it begin with. Nothing is saved or reached. */
export function ImportDialog({ opened, onClose, onImported }: Props) {
  return <Modal opened={opened} onClose={onClose} size="lg" title="Import a server.json"><Body onClose={onClose} onImported={onImported} /></Modal>;
}

function Body({ onClose, onImported }: Omit<Props, "opened">) {
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState("");
  const read = useMutation({ mutationFn: (server_json: Record<string, unknown>) => body(api.POST("/tenants/{tenant}/server-imports", { params: { path: at() }, body: { server_json } })) });
  if (read.data) return <Missing proposal={read.data} onBack={() => read.reset()} onImported={onImported} />;
  const submit = () => {
    setWrong("");
    try {
      const parsed: unknown = JSON.parse(text);
      if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) throw new Error("it is no object");
      read.mutate(parsed as Record<string, unknown>);
    } catch (error) {
      setWrong(`This is no JSON: ${error instanceof Error ? error.message : ""}`);
    }
  };
  return (
    <form onSubmit={(e) => { e.preventDefault(); submit(); }}>
      <Stack gap="md">
        <Textarea data-autofocus label="server.json" description="As the MCP registry has it, or what its API answers for one version" autosize minRows={8} maxRows={18} spellCheck={false} error={wrong} value={text} onChange={(e) => setText(e.currentTarget.value)} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }} />
        {read.isError && <ErrorState error={read.error} title="It cannot be hosted here as it is" />}
        <Group justify="flex-end" gap="xs"><Button variant="default" onClick={onClose}>Cancel</Button><Button type="submit" disabled={text.trim() === ""} loading={read.isPending}>Read it</Button></Group>
      </Stack>
    </form>
  );
}

const kinds: Record<string, string> = { remote: "Another MCP server, over HTTP", stdio: "A package that runs here, in a sandbox" };

function Missing({ proposal: p, onBack, onImported }: { proposal: Proposal; onBack: () => void; onImported: Props["onImported"] }) {
  const [values, setValues] = useState<Record<string, string>>({});
  const set = (key: string, value: string) => setValues((old) => ({ ...old, [key]: value }));
  return (
    <form onSubmit={(e) => { e.preventDefault(); onImported(p.slug, fill(p.server, p.missing, values)); }}>
      <Stack gap="md">
        <Facts label="What it is" facts={[["Title", p.server.title], ["Slug", <span key="slug" className="mono">{p.slug}</span>], ["Becomes", kinds[p.server.kind] ?? p.server.kind], ["Description", p.server.description]]} />
        {p.notes.length > 0 && <Alert color="accent" title="What to know about it"><ul>{p.notes.map((n) => <li key={n}>{n}</li>)}</ul></Alert>}
        {p.missing.length > 0 && <Text size="sm">{count(p.missing.length, "thing")} it needs and does not say. What you leave empty is asked for again in its place.</Text>}
        {p.missing.map((m) => {
          const key = missingKey(m);
          const common = { label: m.name, description: [m.description, m.secret && "Goes to Vault only and is never shown."].filter(Boolean).join(" ") || undefined };
          if (m.choices?.length) return <Select key={key} {...common} data={m.choices} value={values[key] ?? null} onChange={(v) => set(key, v ?? "")} />;
          if (m.secret) return <PasswordInput key={key} {...common} autoComplete="new-password" value={values[key] ?? ""} onChange={(e) => set(key, e.currentTarget.value)} visibilityToggleButtonProps={{ "aria-label": `Show: ${m.name}` }} />;
          return <TextInput key={key} {...common} autoComplete="off" spellCheck={false} value={values[key] ?? ""} onChange={(e) => set(key, e.currentTarget.value)} />;
        })}
        <Group justify="space-between"><Button variant="default" onClick={onBack}>Back</Button><Button type="submit">Go on with this</Button></Group>
      </Stack>
    </form>
  );
}
