import { Stepper } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useQuery } from "@tanstack/react-query";
import { useBlocker } from "@tanstack/react-router";
import { useState } from "react";
import { z } from "zod";
import { fromDeclared, problemsOf, type SQLConnection } from "~/connection/sql";
import { slugPattern, slugRule, zodValidate } from "~/lib/form";
import { ConfirmDialog } from "~/ui/confirm";
import { Crumb, PageHeader } from "~/ui/page-header";
import { Loaded } from "~/ui/states";
import type { Schemas } from "~/api/client";
import { kindsQuery, type Server } from "./queries";
import { StepConnection } from "./step-connection";
import { StepKind } from "./step-kind";
import { StepPublish } from "./step-publish";
import { StepSpec } from "./step-spec";
import { StepTry } from "./step-try";

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

const labels = { kind: "Kind", connection: "Connection", spec: "Spec", try: "Try", publish: "Publish" } as const;
type Step = keyof typeof labels;

function Wizard({ kinds }: { kinds: Schemas["Kind"][] }) {
  const [step, setStep] = useState<Step>("kind");
  const [spec, setSpec] = useState("");
  const [saved, setSaved] = useState<Server>();
  const about = useForm<About>({ initialValues: { kind: kinds[0]?.name ?? "", title: "", slug: "", description: "" }, validate: zodValidate(About) });
  const connection = useForm<SQLConnection>({ initialValues: fromDeclared(undefined), validate: (values) => problemsOf(values) });
  const kind = kinds.find((k) => k.name === about.values.kind);
  const connects = kind?.has_connection === true;
  const steps = (Object.keys(labels) as Step[]).filter((s) => s !== "connection" || connects);
  const at = steps.indexOf(step);
  const dirty = !saved && (about.isDirty() || connection.isDirty());
  const blocker = useBlocker({ shouldBlockFn: () => dirty, enableBeforeUnload: dirty, withResolver: true });

  const toSpec = () => {
    // A template is only for a spec that nobody wrote on yet, also when the kind changes.
    if (spec === "" || kinds.some((k) => k.template === spec)) setSpec(kind?.template ?? "");
    setStep("spec");
  };
  // Once the draft is saved, what it is and where it connects are the server page's business.
  const reachable = (s: Step) => (saved ? ["spec", "try", "publish"].includes(s) : steps.indexOf(s) < at);
  return (
    <>
      <Stepper active={at} onStepClick={(i) => setStep(steps[i]!)} size="xs" mb="lg" wrap={false} allowNextStepsSelect={false}>
        {steps.map((s) => <Stepper.Step key={s} label={labels[s]} allowStepSelect={reachable(s)} />)}
      </Stepper>
      {step === "kind" && <StepKind kinds={kinds} form={about} onNext={() => (connects ? setStep("connection") : toSpec())} />}
      {step === "connection" && <StepConnection form={connection} onBack={() => setStep("kind")} onNext={toSpec} />}
      {step === "spec" && (
        <StepSpec about={about.values} connection={connects ? connection : undefined} spec={spec} onSpec={setSpec} saved={saved}
          onBack={() => setStep(connects ? "connection" : "kind")} onConnectionProblem={() => setStep("connection")} onSaved={(server) => { setSaved(server); setStep("try"); }} />
      )}
      {step === "try" && saved && <StepTry server={saved} onBack={() => setStep("spec")} onNext={() => setStep("publish")} />}
      {step === "publish" && saved && <StepPublish server={saved} onBack={() => setStep("try")} />}
      <ConfirmDialog opened={blocker.status === "blocked"} onClose={() => blocker.reset?.()} title="Leave without saving?" action="Leave and discard" danger onConfirm={async () => blocker.proceed?.()}>
        The server is not saved before its spec is.
      </ConfirmDialog>
    </>
  );
}
