import { Alert, Button, Group, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconCircleCheck, IconRadar2, IconRefresh } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, at, body, type Schemas } from "~/api/client";
import { useCan } from "~/api/me";
import { ProblemError } from "~/api/problem";
import { offerQuery } from "~/api/upstreams";
import { duration } from "~/lib/time";
import { count, list } from "~/lib/words";
import { BreakingList, changeClasses, ClassBadge, Findings } from "~/ui/change-class";
import { ConfirmDialog } from "~/ui/confirm";
import { Facts } from "~/ui/facts";
import { Section } from "~/ui/section";
import { EmptyState, ErrorState, Loaded } from "~/ui/states";
import { RelativeTime } from "~/ui/time";
import { toast } from "~/ui/toast";
import { OfferChanges } from "./offer-changes";
import type { Server } from "./queries";

type Offer = Schemas["ServerOffer"];
type Pending = Schemas["PendingOffer"];

/** What of an upstream's tools somebody agreed to, and what it changed since. */
export function ChangesTab({ server: s }: { server: Server }) {
  const query = useQuery(offerQuery(s.slug));
  const [moved, setMoved] = useState(false);
  return (
    <Loaded query={query}>
      {(offer) => !offer.discovers
        ? <EmptyState title="What this server offers stands in its spec">There is no upstream that could change it.</EmptyState>
        : (
          <Stack gap="md">
            <Awaited offer={offer} />
            {moved && <Alert color="amber" icon={<IconRadar2 aria-hidden />} title="It changed again before you decided" role="alert" withCloseButton closeButtonLabel="Dismiss" onClose={() => setMoved(false)}>Nothing was decided. Below is what the upstream offers now.</Alert>}
            {offer.pending ? <PendingChange key={offer.pending.hash} server={s} pending={offer.pending} onDecide={setMoved} />
              : offer.pinned && <EmptyState icon={IconCircleCheck} title="Nothing waits for a decision">Its upstream offers what was agreed to. When that changes, it stands here, and nobody gets it before you say so.</EmptyState>}
            <Agreed server={s} offer={offer} />
          </Stack>
        )}
    </Loaded>
  );
}

function Awaited({ offer }: { offer: Offer }) {
  if (offer.problem) return <Alert color="red" icon={<IconRadar2 aria-hidden />} title="What it offers could not be published">{offer.problem} Correct the spec; it is published at once when it fits.</Alert>;
  if (!offer.awaited) return null;
  return <Alert color="accent" icon={<IconRadar2 aria-hidden />} title="Being discovered" role="status">The platform asks the upstream what it offers. The first answer is agreed to by itself, and then it is published.</Alert>;
}

function Agreed({ server: s, offer: { pinned } }: { server: Server; offer: Offer }) {
  const can = useCan();
  return (
    <Section title={pinned ? "What was agreed to" : "Nothing is agreed to yet"} says="The platform looks by itself, too: every ten seconds or so."
      actions={can("servers:write") && <LookAgain server={s.slug} />}>
      {pinned && (
        <Facts label="What was agreed to" facts={[
          ["Upstream", [pinned.name, pinned.version].filter(Boolean).join(" ")],
          ["Offers", offered(pinned)],
          ["Speaks", pinned.protocol && `MCP ${pinned.protocol}`],
          ["When", <RelativeTime key="at" at={pinned.at} />],
          ["By", pinned.by || "nobody: it was the first answer of a new server"],
          ["Hash", <span key="hash" className="mono">{pinned.hash.slice(0, 16)}</span>],
        ]} />
      )}
    </Section>
  );
}

const offered = (o: Schemas["OfferSummary"]) =>
  list([count(o.tools, "tool"), ...(o.resources ? [count(o.resources, "resource")] : []), ...(o.prompts ? [count(o.prompts, "prompt")] : [])]);

const found: Record<Schemas["Discovery"]["seen"], string> = {
  first: "That was its first answer; it is agreed to.",
  same: "It offers what was agreed to.",
  changed: "It changed. Decide about it here.",
  pending: "It offers what waits for a decision here.",
  refused: "It offers what somebody refused; all stays as it is.",
};

function LookAgain({ server }: { server: string }) {
  const client = useQueryClient();
  const look = useMutation({
    mutationFn: () => body(api.POST("/tenants/{tenant}/servers/{server}/discovery", { params: { path: at({ server }) } })),
    onSettled: () => client.invalidateQueries({ queryKey: ["servers"] }),
  });
  return (
    <Stack gap="xs" align="flex-end">
      <Button variant="default" leftSection={<IconRefresh size={15} aria-hidden />} loading={look.isPending} onClick={() => look.mutate()}>Look again now</Button>
      {look.isError && <ErrorState error={look.error} title="The upstream could not be asked" />}
      {look.data && <Text size="sm" role="status">{found[look.data.seen]} {look.data.problem} <Text span c="dimmed" size="xs" className="num">{offered(look.data.offer)} in {duration(look.data.latency_ms)}</Text></Text>}
    </Stack>
  );
}

interface PendingProps {
  server: Server;
  pending: Pending;
  /** Told whether the offer was another one by then. */
  onDecide: (moved: boolean) => void;
}

function PendingChange({ server: s, pending, onDecide }: PendingProps) {
  const can = useCan();
  const [approving, approve] = useDisclosure();
  const [refusing, refuse] = useDisclosure();
  const unsafe = (pending.findings ?? []).some((f) => f.level === "error");
  const breaking = pending.breaking ?? [];
  const blocked = pending.problem !== undefined || unsafe;
  return (
    <Section
      title={`${count(pending.changes.length, "change")} to decide`}
      says={<>Since <RelativeTime at={pending.since} />, last seen <RelativeTime at={pending.seen_at} />. Nobody gets any of it; calls of what changed are refused.</>}
      actions={can("servers:write") && (
        <Group gap="xs">
          <Button variant="default" onClick={refuse.open}>Refuse</Button>
          <Button disabled={blocked} onClick={approve.open}>Approve</Button>
        </Group>
      )}
    >
      <Stack gap="sm">
        {pending.problem && <Alert color="red" title="It cannot be approved as it is">{pending.problem}</Alert>}
        {pending.class && <Group gap="xs"><ClassBadge of={pending.class} /><Text size="sm" c="dimmed">{changeClasses[pending.class].says}</Text></Group>}
        <Findings findings={pending.findings} />
        {unsafe && <Text size="sm">It cannot be approved while a description could mislead a model. In the spec, write one of your own for that tool or exclude the tool; or refuse.</Text>}
        <BreakingList breaking={breaking} />
        <OfferChanges changes={pending.changes} breaking={breaking} />
      </Stack>
      <Decide server={s} pending={pending} decision="approve" onDecide={onDecide} opened={approving} onClose={approve.close} />
      <Decide server={s} pending={pending} decision="refuse" onDecide={onDecide} opened={refusing} onClose={refuse.close} />
    </Section>
  );
}

interface DecideProps extends PendingProps {
  decision: "approve" | "refuse";
  opened: boolean;
  onClose: () => void;
}

/** The decision is about the very offer that was looked at: if the upstream said something else meanwhile, nothing happens and that is shown. */
function Decide({ server: s, pending, onDecide, decision, opened, onClose }: DecideProps) {
  const client = useQueryClient();
  const [refused, setRefused] = useState(false);
  const approve = decision === "approve";
  const breaks = approve && (refused || (pending.breaking ?? []).length > 0);
  const act = async () => {
    const params = { path: at({ server: s.slug }) };
    try {
      if (approve) await body(api.POST("/tenants/{tenant}/servers/{server}/offer/approve", { params, body: { hash: pending.hash, allow_breaking: breaks } }));
      else await body(api.POST("/tenants/{tenant}/servers/{server}/offer/refuse", { params, body: { hash: pending.hash } }));
      onDecide(false);
      toast.done(approve ? `${s.slug} serves what its upstream offers now.` : "It stays as it was. The same offer is not asked about again.");
    } catch (error) {
      if (error instanceof ProblemError && error.code === "breaking_change") setRefused(true);
      if (!(error instanceof ProblemError && error.code === "conflict")) throw error;
      onDecide(true);
    }
    await client.invalidateQueries();
  };
  return (
    <ConfirmDialog
      opened={opened} onClose={onClose} size={breaks ? "lg" : "md"} onConfirm={act} danger={breaks} typed={breaks ? s.slug : undefined}
      title={approve ? "Approve what the upstream offers now" : "Stay with what was agreed to"}
      action={approve ? (breaks ? "Approve although it breaks" : "Approve and publish") : "Refuse it"}
    >
      {approve ? (
        <Stack gap="sm">
          <Text size="sm">{s.status === "published" ? "It is published at once: clients get it from their next call on." : "It becomes part of the draft."} A tool that is new is open to nobody before a role opens its scope.</Text>
          {breaks && <BreakingList breaking={pending.breaking ?? []} />}
          {breaks && <Text size="sm">Who calls these tools today will fail or get something else. That you meant it goes on record.</Text>}
        </Stack>
      ) : "Tools that the upstream changed go on to be refused. You are asked again only when it offers something else."}
    </ConfirmDialog>
  );
}
