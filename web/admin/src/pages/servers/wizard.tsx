import { Alert, Stepper } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useQuery } from "@tanstack/react-query";
import { useBlocker, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { z } from "zod";
import { discovers, fieldsOf } from "~/connection/declared";
import { showConnectionProblem } from "~/connection/problem";
import { fromDeclared, problemsOf, toDeclared, type Declared, type SQLConnection } from "~/connection/sql";
import { useDeclared } from "~/connection/use-declared";
import { slugPattern, slugRule, zodValidate } from "~/lib/form";
import { toYAML } from "~/lib/yaml";
import { ConfirmDialog } from "~/ui/confirm";
import { Crumb, PageHeader } from "~/ui/page-header";
import { Loaded } from "~/ui/states";
import type { Schemas } from "~/api/client";
import { kindsQuery, type Server } from "./queries";
import { StepConnection, StepDeclared } from "./step-connection";
import { StepDiscover } from "./step-discover";
import { StepDocument } from "./step-document";
import { StepKind } from "./step-kind";
import { StepLive } from "./step-live";
import { StepPublish } from "./step-publish";
import { StepSpec } from "./step-spec";
import { StepTry } from "./step-try";
import type { Draft } from "./use-save";

export const About = z.object({
  kind: z.string().min(1, "Choose one"),
  title: z.string().trim().min(1, "People see it when they connect").max(200, "At most 200 characters"),
  slug: z.string().regex(slugPattern, `It has ${slugRule}`),
  description: z.string().max(4000, "At most 4,000 characters"),
});
export type About = z.infer<typeof About>;

/** From nothing to a served server: what it is, where it connects, what it offers, a try, and who may use it. */
export function Page() {
  const kinds = useQuery(kindsQuery);
  return (
    <>
      <PageHeader title="Add a server" trail={<Crumb to="/servers">Servers</Crumb>}>
        Nothing is visible to anybody before the last step.
      </PageHeader>
      <Loaded query={kinds}>{({ data }) => <Wizard kinds={data} />}</Loaded>
    </>
  );
}

const labels = { kind: "Kind", document: "Document", connection: "Connection", spec: "Spec", live: "Live check", discover: "Discovery", try: "Try", publish: "Publish" } as const;
type Step = keyof typeof labels;

/** The steps that a kind needs. A database is tried by Vault when it is saved. */
function stepsOf(kind: Schemas["Kind"] | undefined): Step[] {
  const without = new Set<Step>([
    ...(kind?.has_connection ? [] : ["connection" as const]),
    ...(kind?.name === "http" ? [] : ["document" as const]),
    ...(kind && fieldsOf[kind.name] ? [] : ["live" as const]),
    ...(kind && discovers.has(kind.name) ? [] : ["discover" as const]),
  ]);
  return (Object.keys(labels) as Step[]).filter((s) => !without.has(s));
}

function Wizard({ kinds }: { kinds: Schemas["Kind"][] }) {
  const navigate = useNavigate();
  const [step, setStep] = useState<Step>("kind");
  const [spec, setSpec] = useState("");
  const [notes, setNotes] = useState<string[]>([]);
  const [saved, setSaved] = useState<Server>();
  const about = useForm<About>({ initialValues: { kind: kinds[0]?.name ?? "", title: "", slug: "", description: "" }, validate: zodValidate(About) });
  const sql = useForm<SQLConnection>({ initialValues: fromDeclared(undefined), validate: (values) => problemsOf(values) });
  const declared = useDeclared({ fields: [] });
  const kind = kinds.find((k) => k.name === about.values.kind);
  const fields = fieldsOf[about.values.kind];
  const steps = stepsOf(kind);
  const at = steps.indexOf(step);
  const dirty = !saved && (about.isDirty() || sql.isDirty() || declared.dirty);
  const blocker = useBlocker({ shouldBlockFn: () => dirty, enableBeforeUnload: dirty, withResolver: true });

  const go = (by: number) => setStep(steps[steps.indexOf(step) + by]!);
  const leaveKind = () => {
    if (fields && declared.fields !== fields) declared.reset(fields);
    // A template is only for a spec that nobody wrote on yet, also when the kind changes.
    if (spec === "" || kinds.some((k) => k.template === spec)) setSpec(kind?.template ?? "");
    go(1);
  };
  const imported = (slug: string, server: Schemas["ServerPut"]) => {
    const own = fieldsOf[server.kind];
    about.setValues({ kind: server.kind, title: server.title ?? slug, slug, description: server.description ?? "" });
    if (own) declared.reset(own, server.connection as Declared | undefined);
    setSpec(toYAML(server.spec ?? {}, ["document"]));
    setStep("connection");
  };
  const account = declared.values["auth.type"] === "oauth" && about.values.kind === "remote";
  const draft: Draft = {
    about: about.values, spec, saved,
    connection: !kind?.has_connection ? undefined : fields ? declared.declared : () => toDeclared(sql.values),
    onConnectionProblem: (error) => {
      if (kind?.has_connection && (fields ? declared.show(error) : showConnectionProblem(sql, error))) setStep("connection");
    },
    onSaved: (server) => {
      setSaved(server);
      setStep(steps.includes("discover") ? "discover" : "try");
    },
  };
  // Once the draft is saved, what it is and where it connects are the server page's business.
  const reachable = (s: Step) => (saved ? ["spec", "live", "discover", "try", "publish"].includes(s) && steps.indexOf(s) <= at : steps.indexOf(s) < at);
  return (
    <>
      <Stepper active={at} onStepClick={(i) => setStep(steps[i]!)} size="xs" mb="lg" wrap={false} allowNextStepsSelect={false}>
        {steps.map((s) => <Stepper.Step key={s} label={labels[s]} allowStepSelect={reachable(s)} />)}
      </Stepper>
      {step === "kind" && <StepKind kinds={kinds} form={about} onNext={leaveKind} onImported={imported} />}
      {step === "document" && (
        <StepDocument onBack={() => go(-1)} onSkip={() => go(1)} onProposed={(p) => { setSpec(p.spec); setNotes(p.notes); if (fields) declared.reset(fields, p.connection); go(1); }} />
      )}
      {step === "connection" && (fields ? <StepDeclared kind={about.values.kind} form={declared} onBack={() => go(-1)} onNext={() => go(1)} /> : <StepConnection form={sql} onBack={() => go(-1)} onNext={() => go(1)} />)}
      {step === "spec" && (
        <>
          {notes.length > 0 && <Alert color="amber" mb="md" title="What is not as the document has it"><ul>{notes.slice(0, 20).map((n) => <li key={n}>{n}</li>)}</ul></Alert>}
          <StepSpec draft={draft} onSpec={setSpec} onBack={() => go(-1)} onCheck={steps.includes("live") ? () => setStep("live") : undefined} />
        </>
      )}
      {step === "live" && <StepLive draft={{ ...draft, onSaved: (server) => (account ? toAccount(server) : draft.onSaved(server)) }} account={account} onBack={() => setStep("spec")} onConnection={() => setStep("connection")} />}
      {step === "discover" && saved && <StepDiscover server={saved} onBack={() => setStep("spec")} onNext={(server) => { setSaved(server); setStep("try"); }} />}
      {step === "try" && saved && <StepTry server={saved} onBack={() => setStep("spec")} onNext={() => setStep("publish")} />}
      {step === "publish" && saved && <StepPublish server={saved} onBack={() => setStep("try")} />}
      <ConfirmDialog opened={blocker.status === "blocked"} onClose={() => blocker.reset?.()} title="Leave without saving?" action="Leave and discard" danger onConfirm={async () => blocker.proceed?.()}>
        The server is not saved before its spec is.
      </ConfirmDialog>
    </>
  );

  /** The account is connected on the server's page; until then there is nothing to discover. */
  function toAccount(server: Server) {
    setSaved(server);
    void navigate({ to: "/servers/$server", params: { server: server.slug }, search: { tab: "connection" }, ignoreBlocker: true });
  }
}
