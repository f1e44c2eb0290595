import { ActionIcon, Alert, Button, Checkbox, Group, SegmentedControl, Select, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconArrowBackUp, IconArrowForwardUp, IconPlus, IconServer2, IconUserSearch, IconUsers } from "@tabler/icons-react";
import { useBlocker } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { useCan } from "~/api/me";
import { isStale } from "~/api/problem";
import { withFilter } from "~/lib/filters";
import { ConfirmDialog } from "~/ui/confirm";
import { FilterBar } from "~/ui/filter-bar";
import { ButtonLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { riskOptions } from "~/ui/risk";
import { EmptyState, ErrorState, Loaded } from "~/ui/states";
import { AccessGrid, type Selection } from "./grid";
import { GridMenu } from "./grid-menu";
import type { Place } from "./keys";
import type { Model } from "./model";
import { PendingBar, Review } from "./pending";
import { PersonDrawer } from "./person";
import { DeleteRole } from "./role-delete";
import { RoleDrawer } from "./role-form";
import { access as route } from "./routes";
import { buildRows } from "./rows";
import { SelectionBar } from "./selection-bar";
import { summarize } from "./summary";
import { useAccess } from "./use-access";
import classes from "./pending.module.css";

const start: Selection = { anchor: { row: 0, col: 0 }, active: { row: 0, col: 0 } };

/** Roles by scopes: who may do what, to be read at a glance and changed in bulk. */
export function Page() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const can = useCan();
  const access = useAccess();
  const [role, setRole] = useState<string>();
  const [personOpen, person] = useDisclosure(search.person !== undefined);
  const showPerson = (email: string | undefined) => void navigate({ search: withFilter(search, { person: email }), replace: true });

  return (
    <>
      <PageHeader
        title="Access"
        actions={
          <>
            {can("members:read") && <Button variant="default" leftSection={<IconUserSearch size={15} aria-hidden />} onClick={person.open}>What can a person call?</Button>}
            {can("roles:write") && <Button leftSection={<IconPlus size={15} aria-hidden />} onClick={() => setRole("")}>New role</Button>}
          </>
        }
      >
        What each role opens. A person may use what any of their roles opens; an app gets of that only what the person allows it.
      </PageHeader>
      <Loaded query={{ ...access.query, data: access.model }} rows={9}>
        {(model) => (
          <>
            <Workbench model={model} access={access} role={role} setRole={setRole} />
            <PersonDrawer opened={personOpen} person={search.person} model={model} onPick={showPerson} onClose={() => { person.close(); showPerson(undefined); }} />
          </>
        )}
      </Loaded>
    </>
  );
}

interface WorkbenchProps {
  model: Model;
  access: ReturnType<typeof useAccess>;
  role: string | undefined;
  setRole: (role: string | undefined) => void;
}

function Workbench({ model, access, role, setRole }: WorkbenchProps) {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const readOnly = !useCan()("roles:write");
  const { q, risk, server, tools } = search;
  const rows = useMemo(() => buildRows({ scopes: model.scopes }, { q, risk, server, tools }), [model.scopes, q, risk, server, tools]);
  const summaries = useMemo(() => summarize(model), [model]);
  const [selection, setSelection] = useState(start);
  const [menu, setMenu] = useState<{ place: Place; from: DOMRect }>();
  const [deleting, setDeleting] = useState<string>();
  const [reviewing, review] = useDisclosure();
  const blocker = useBlocker({ shouldBlockFn: ({ current, next }) => model.pending > 0 && current.pathname !== next.pathname, enableBeforeUnload: model.pending > 0, withResolver: true });

  const setFilter = (next: typeof search) => {
    setSelection(start);
    void navigate({ search: next, replace: true });
  };
  const servers = useMemo(() => [...new Map(model.scopes.map((s) => [s.server, s.server_title || s.server]))].map(([value, label]) => ({ value, label })), [model.scopes]);

  if (model.roles.length === 0 || model.scopes.length === 0) return <NothingYet model={model} onNewRole={() => setRole("")} drawer={<RoleDrawer role={role} taken={[]} readOnly={readOnly} onClose={() => setRole(undefined)} />} />;

  const clamped = clamp(selection, rows.rows.length, model.roles.length);
  return (
    <>
      <FilterBar search={search} onChange={setFilter} filters={[{ kind: "text", name: "q", label: "Scope or tool", width: 210 }]}>
        <Group gap={2} mr={4}>
          <Tooltip label="Undo (Ctrl Z)"><ActionIcon aria-label="Undo" disabled={model.past.length === 0} onClick={access.undo}><IconArrowBackUp size={17} aria-hidden /></ActionIcon></Tooltip>
          <Tooltip label="Redo (Ctrl Shift Z)"><ActionIcon aria-label="Redo" disabled={model.future.length === 0} onClick={access.redo}><IconArrowForwardUp size={17} aria-hidden /></ActionIcon></Tooltip>
        </Group>
        <Checkbox label="Tools" checked={tools ?? false} onChange={(e) => setFilter(withFilter(search, { tools: e.currentTarget.checked || undefined }))} />
        <Select aria-label="Server" placeholder="All servers" w={150} clearable clearButtonProps={{ "aria-label": "Clear: server" }} data={servers} value={server ?? null} onChange={(v) => setFilter(withFilter(search, { server: v ?? undefined }))} />
        <SegmentedControl aria-label="Risk" value={risk ?? "all"} data={[{ value: "all", label: "All" }, ...riskOptions]} onChange={(v) => setFilter(withFilter(search, { risk: v === "all" ? undefined : (v as typeof risk) }))} />
      </FilterBar>

      {access.stale && model.pending > 0 && (
        <Alert color="amber" icon={<IconUsers aria-hidden />} title="Somebody changed access meanwhile" role="alert" mb="md">
          Nothing of yours is lost and nothing is saved yet.
          <Group mt="xs" gap="xs"><Button variant="default" onClick={access.catchUp}>Put my changes on top of theirs</Button></Group>
        </Alert>
      )}

      {rows.rows.length === 0 ? (
        <EmptyState title="No scope matches" action={<Button variant="default" onClick={() => setFilter({})}>Clear filters</Button>}>Pending changes stay as they are.</EmptyState>
      ) : (
        <AccessGrid
          below={model.pending > 0} model={model} rows={rows} selection={clamped} onSelect={setSelection} readOnly={readOnly}
          onToggle={access.toggle} onUndo={access.undo} onRedo={access.redo} onMenu={(place, from) => setMenu({ place, from })}
        />
      )}
      <GridMenu model={model} rows={rows} at={menu} onClose={() => setMenu(undefined)} onEdit={access.edit} onEditRole={setRole} onDeleteRole={setDeleting} readOnly={readOnly} />
      <div className={classes.bars}>
        {!readOnly && <SelectionBar model={model} rows={rows} selection={clamped} onEdit={access.edit} onClear={() => setSelection({ anchor: selection.active, active: selection.active })} />}
  
        {model.pending > 0 && (
          <PendingBar pending={model.pending} summaries={summaries} saving={access.save.isPending || !access.ready} onReview={review.open} onDiscard={access.discard}
            onSave={() => access.save.mutate(undefined, { onError: (error) => { if (!isStale(error)) review.open(); } })} />
        )}
      </div>
      {access.save.isError && !isStale(access.save.error) && !reviewing && <ErrorState error={access.save.error} title="Nothing was saved" />}
      <Review
        opened={reviewing} onClose={review.close} pending={model.pending} summaries={summaries} saving={access.save.isPending || !access.ready} error={isStale(access.save.error) ? undefined : access.save.error}
        onRevert={(items) => { for (const item of items) access.toggle([item.cell]); }}
        onSave={() => access.save.mutate(undefined, { onSuccess: review.close, onError: (error) => { if (isStale(error)) review.close(); } })}
      />
      <RoleDrawer role={role} taken={model.roles.map((r) => r.name)} readOnly={readOnly} onClose={() => setRole(undefined)} />
      <DeleteRole role={deleting} onClose={() => setDeleting(undefined)} />
      <ConfirmDialog opened={blocker.status === "blocked"} onClose={() => blocker.reset?.()} title="Leave without saving?" action="Leave and discard" danger onConfirm={async () => blocker.proceed?.()}>
        {model.pending === 1 ? "One change is" : `${model.pending} changes are`} not saved.
      </ConfirmDialog>
    </>
  );
}

function NothingYet({ model, onNewRole, drawer }: { model: Model; onNewRole: () => void; drawer: React.ReactNode }) {
  return (
    <>
      {model.scopes.length === 0 ? (
        <EmptyState icon={IconServer2} title="No server is published yet" action={<ButtonLink to="/add-server">Add a server</ButtonLink>}>
          Scopes come from the tools of published servers. Once there are some, this is where roles open them.
        </EmptyState>
      ) : (
        <EmptyState icon={IconUsers} title="No role yet" action={<Button onClick={onNewRole}>Make the first role</Button>}>
          A role opens scopes for the people who hold it. Without one, nobody can call anything.
        </EmptyState>
      )}
      {drawer}
    </>
  );
}

/** Keeps a selection inside a matrix that became smaller. */
function clamp({ anchor, active }: Selection, rows: number, cols: number): Selection {
  const fit = ({ row, col }: Place) => ({ row: Math.min(row, rows - 1), col: Math.min(col, cols - 1) });
  return { anchor: fit(anchor), active: fit(active) };
}
