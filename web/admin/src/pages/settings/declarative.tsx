import { Alert, Button, FileButton, Group, Stack, Switch, Text, Textarea } from "@mantine/core";
import { IconAlertTriangle, IconDownload, IconFileUpload, IconTrash } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body } from "~/api/client";
import { useCan } from "~/api/me";
import { ProblemError } from "~/api/problem";
import { downloadText } from "~/lib/download";
import { count, list } from "~/lib/words";
import { ConfirmDialog } from "~/ui/confirm";
import { Section } from "~/ui/section";
import { ErrorState } from "~/ui/states";
import { toast } from "~/ui/toast";
import { ApplyDiff } from "./apply-diff";
import { arrange, fileProblems, headline, unmentionedWords, type ApplyResult } from "./apply";
import classes from "./settings.module.css";

const reads = ["servers:read", "roles:read", "members:read", "tenant:read"];
const writes = ["servers:write", "roles:write", "members:write", "tenant:write"];

/** The whole tenant as one file: out, and in again after one has seen what it would change. */
export function Declarative({ slug }: { slug: string }) {
  const can = useCan();
  const mayExport = reads.every(can);
  const mayApply = writes.every(can);
  return (
    <Section title="As a file" says={<>Servers, roles, people, limits and kill switches as YAML, the same that <span className="mono">platform apply</span> takes. Keep it in a repository and review changes there.</>} actions={mayExport && <Export slug={slug} />}>
      {mayApply ? <Apply /> : <Text size="sm" c="dimmed">{mayExport ? "You can export the file. " : ""}Applying one needs {list(writes)}.</Text>}
    </Section>
  );
}

function Export({ slug }: { slug: string }) {
  const read = useMutation({
    mutationFn: () => body(api.GET("/tenants/{tenant}/export", { params: { path: at() } })),
    onSuccess: ({ file, env }) => {
      downloadText(`${slug}.yaml`, file, "application/yaml");
      toast.done(env.length > 0 ? `Its secrets are not in it. Before applying it, set ${list(env, 4)}.` : "It holds everything that is declared.", `${slug}.yaml`);
    },
    onError: (error) => toast.problem(error, "Nothing was exported"),
  });
  return <Button variant="default" leftSection={<IconDownload size={15} aria-hidden />} loading={read.isPending} onClick={() => read.mutate()}>Export</Button>;
}

function Apply() {
  const client = useQueryClient();
  const [file, setFile] = useState("");
  const [name, setName] = useState("");
  const [how, setHow] = useState<How>({ prune: false, breaking: false });
  const [sure, setSure] = useState(false);
  const send = (dryRun: boolean, { prune, breaking }: How) => body(api.POST("/tenants/{tenant}/apply", { params: { path: at(), query: { dry_run: dryRun } }, body: { file, prune, ...(breaking ? { allow_breaking: true } : {}), ...(name ? { name } : {}) } }));
  const preview = useMutation({ mutationFn: (asked: How) => send(true, asked) });
  const apply = useMutation({
    mutationFn: () => send(false, how),
    onSuccess: async (result) => {
      const { changes } = arrange(result);
      toast.done(changes.length === 0 ? "Nothing had to change." : `${headline(changes)}.`, "The file is applied");
      preview.reset();
      await client.invalidateQueries();
    },
  });
  const change = (text: string, from = "") => {
    setFile(text);
    setName(from);
    setHow({ prune: false, breaking: false });
    preview.reset();
    apply.reset();
  };
  const look = (next: How) => {
    setHow(next);
    preview.mutate(next);
  };
  const problems = fileProblems(preview.error);
  const refused = [preview.error, apply.error].some((e) => e instanceof ProblemError && e.code === "breaking_change");
  const deletes = preview.data?.changes.some((c) => c.verb === "deleted") ?? false;
  return (
    <Stack gap="md">
      <Group justify="space-between" align="flex-end">
        <Text component="label" htmlFor="apply-file" size="sm" fw={520}>Apply a file{name && <Text span c="dimmed" fw={400}>: {name}</Text>}</Text>
        <FileButton accept=".yaml,.yml,application/yaml" onChange={(chosen) => { if (chosen) void chosen.text().then((text) => change(text, chosen.name)); }}>
          {(props) => <Button {...props} variant="default" leftSection={<IconFileUpload size={15} aria-hidden />}>Choose a file</Button>}
        </FileButton>
      </Group>
      <Textarea id="apply-file" placeholder={"tenant: acme\nname: Acme Corp\nroles: …"} autosize minRows={5} maxRows={18} spellCheck={false} classNames={{ input: classes.file }} value={file} onChange={(e) => change(e.currentTarget.value)} />
      <Text size="xs" c="dimmed">A secret is written as <code>{"{secret: value}"}</code> here. <code>{"{env: NAME}"}</code> is resolved by the command line only.</Text>
      {preview.isError && (problems.length > 0 ? (
        <Alert color="red" title={refused ? "It would break who uses the tools" : "The file cannot be applied"} role="alert">
          <ul className={classes.problems}>{problems.map((p) => <li key={`${p.line} ${p.text}`}>{p.line && <b className="num">Line {p.line}{p.column ? `, column ${p.column}` : ""}: </b>}{p.text}{p.fix && <Text span size="sm" c="dimmed"> {p.fix}</Text>}</li>)}</ul>
        </Alert>
      ) : <ErrorState error={preview.error} />)}
      {preview.data && <Preview result={preview.data} prune={how.prune} busy={preview.isPending} onPrune={(prune) => look({ ...how, prune })} />}
      {(refused || how.breaking) && (
        <Alert color="red" icon={<IconAlertTriangle aria-hidden />}>
          <Switch
            label="Publish it although it breaks who uses the tools" checked={how.breaking} disabled={preview.isPending} onChange={(e) => { apply.reset(); look({ ...how, breaking: e.currentTarget.checked }); }}
            description="It goes on record. Else give a changed tool a new name, or a higher version with replaces, and deprecate the old one first."
          />
        </Alert>
      )}
      {apply.isError && <ErrorState error={apply.error} title="The file was not applied" />}
      <Group gap="xs">
        <Button variant={preview.data ? "default" : "filled"} loading={preview.isPending} disabled={file.trim() === ""} onClick={() => preview.mutate(how)}>{preview.data ? "Look again" : "See what it would change"}</Button>
        {preview.data && (arrange(preview.data).changes.length > 0) && <Button color={deletes || how.breaking ? "red" : undefined} loading={apply.isPending} onClick={() => (deletes || how.breaking ? setSure(true) : apply.mutate())}>{deletes ? "Apply and delete" : how.breaking ? "Apply although it breaks" : "Apply"}</Button>}
      </Group>
      <ConfirmDialog
        opened={sure} onClose={() => setSure(false)} danger typed={deletes ? "delete" : "break"} onConfirm={() => apply.mutateAsync()}
        title={deletes ? "Apply and delete what the file does not mention?" : "Apply although it breaks who uses the tools?"} action={deletes ? "Apply and delete" : "Apply although it breaks"}
      >
        {how.breaking && <Text size="sm" mb={deletes ? "xs" : 0}>Clients that listed the tools before get errors until they list them again. It goes on record.</Text>}
        {deletes && <>{list((preview.data?.changes ?? []).filter((c) => c.verb === "deleted").map((c) => `${c.what} ${c.name}`), 8)} will be deleted with everything in {preview.data?.changes.filter((c) => c.verb === "deleted").length === 1 ? "it" : "them"}. This cannot be taken back.</>}
      </ConfirmDialog>
    </Stack>
  );
}

interface How {
  /** Deletes what the file does not mention. */
  prune: boolean;
  /** Publishes what breaks who uses it. */
  breaking: boolean;
}

function Preview({ result, prune, busy, onPrune }: { result: ApplyResult; prune: boolean; busy: boolean; onPrune: (on: boolean) => void }) {
  const { changes, unchanged } = arrange(result);
  return (
    <Stack gap="sm" aria-live="polite">
      <Text size="sm" fw={560}>{changes.length === 0 ? "Nothing would change." : `It would change: ${headline(changes)}.`} {unchanged > 0 && <Text span c="dimmed" size="sm" fw={400}>{count(unchanged, "thing")} would stay the same.</Text>}</Text>
      {changes.length > 0 && <ApplyDiff changes={changes} />}
      {(result.unmentioned.length > 0 || prune) && (
        <Alert color={prune ? "red" : "amber"} icon={<IconTrash aria-hidden />}>
          <Switch
            label={`Also delete what the file does not mention${result.unmentioned.length > 0 ? `: ${unmentionedWords(result)}` : ""}`} checked={prune} disabled={busy} onChange={(e) => onPrune(e.currentTarget.checked)}
            description={prune ? "They are among the changes above." : `Without it these stay as they are: ${list(result.unmentioned.map((u) => `${u.what} ${u.name}`), 8)}.`}
          />
        </Alert>
      )}
    </Stack>
  );
}
