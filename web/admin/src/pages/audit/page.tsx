import { ActionIcon, Alert, Button, Loader, Menu, Switch, Tooltip } from "@mantine/core";
import { IconDownload, IconListSearch, IconRefresh } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useCallback, useMemo, useState } from "react";
import { api, at, body } from "~/api/client";
import { boot } from "~/boot";
import { isFiltered, withFilter } from "~/lib/filters";
import { exactTime } from "~/lib/time";
import { count } from "~/lib/words";
import { PageHeader } from "~/ui/page-header";
import { usePages } from "~/ui/paged-table";
import { EmptyState, ErrorState, LoadingState } from "~/ui/states";
import { EventDrawer } from "./detail";
import { FilterPanel } from "./filter-panel";
import { aspectQuery, auditQuery, badFilters, exportURL, type Aspect, type AspectQuery, type AuditQuery, type AuditSearch } from "./filters";
import { LiveBar } from "./live-bar";
import { EventList } from "./list";
import bar from "./live-bar.module.css";
import { audit as route } from "./routes";
import { patience, searched } from "./searched";
import { onTop, type AuditEvent } from "./tail";
import { useTail } from "./use-tail";

/** Every call and every change: searched, followed, explained. */
export function Page() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { event, live, ...filters } = search;
  const [turn, setTurn] = useState(0);
  const key = `${JSON.stringify(filters)} ${turn}`;
  const bad = badFilters(search);
  const change = (next: AuditSearch) => void navigate({ search: withFilter({ ...next, event: undefined }, {}), replace: true });
  const show = useCallback((id: string | undefined) => void navigate({ search: (old) => withFilter(old, { event: id }), replace: true, resetScroll: false }), [navigate]);

  return (
    <>
      <PageHeader title="Audit">Every call and every change, allowed or refused. Records are kept as they were made.</PageHeader>
      <FilterPanel search={search} onChange={change}>
        <Switch label="Live" checked={live ?? false} onChange={(e) => change({ ...search, live: e.currentTarget.checked || undefined })} />
        {!live && <Tooltip label="Search again, up to now"><ActionIcon variant="default" size={32} aria-label="Search again" onClick={() => setTurn(turn + 1)}><IconRefresh size={16} aria-hidden /></ActionIcon></Tooltip>}
        <ExportMenu key={key} search={filters} />
      </FilterPanel>
      {bad.length > 0 ? (
        <Alert color="amber" title="This cannot be searched for">{bad.join(" ")}</Alert>
      ) : live ? (
        <LiveList query={aspectQuery(search)} open={event} onOpen={show} />
      ) : (
        <SearchedList key={key} search={filters} filtered={isFiltered(filters)} open={event} onOpen={show} onClear={() => change({})} />
      )}
      <EventDrawer
        event={event} onClose={() => show(undefined)} onShow={show}
        onFilter={(aspect: Aspect, value: string) => change(withFilter({ ...search, event: undefined }, { [aspect]: value }))}
      />
    </>
  );
}

interface ListProps {
  open: string | undefined;
  onOpen: (id: string) => void;
}

/** All pages of a list, and the export of it, are of one time: the one at which it was begun. */
function useQueryFromNow(search: AuditSearch): AuditQuery {
  const [now] = useState(Date.now);
  return auditQuery(search, now);
}

function SearchedList({ search, filtered, open, onOpen, onClear }: ListProps & { search: AuditSearch; filtered: boolean; onClear: () => void }) {
  const query = useQueryFromNow(search);
  const pages = usePages<AuditEvent>(["audit", "events", query], (cursor, signal) =>
    body(api.GET("/tenants/{tenant}/audit/events", { params: { path: at(), query: { ...query, limit: 100, ...(cursor ? { cursor } : {}) } }, signal })));
  const { fetchNextPage, hasNextPage, isFetching, isError } = pages;
  const [allowed, setAllowed] = useState(patience);
  const state = useMemo(() => searched(pages.data?.pages ?? []), [pages.data]);
  const tired = state.emptyRun >= allowed;
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetching && !isError && !tired) void fetchNextPage();
  }, [hasNextPage, isFetching, isError, tired, fetchNextPage]);

  if (pages.isPending) return <LoadingState rows={9} label="Loading records" />;
  if (isError && !pages.data) return <ErrorState error={pages.error} onRetry={() => void pages.refetch()} />;
  if (state.rows.length === 0 && !hasNextPage) {
    return (
      <EmptyState icon={IconListSearch} title={filtered ? "No record matches" : "Nothing has happened yet"} action={filtered && <Button variant="default" onClick={onClear}>Clear filters</Button>}>
        {filtered ? "Everything was searched. Take a filter away, or choose a longer time." : "As soon as somebody connects a client or changes something, it stands here."}
      </EmptyState>
    );
  }
  const found = count(state.rows.length, "record");
  const words = state.back ? `${found}. Searched back to ${exactTime(state.back)}` : found;
  return (
    <EventList
      rows={state.rows} open={open} onOpen={onOpen} onEnd={onEnd}
      foot={
        isError ? <><span>{words}. The rest could not be read.</span><Button variant="default" onClick={() => void fetchNextPage()}>Try again</Button></>
        : !hasNextPage ? <span role="status">{found}; that is all.</span>
        : tired ? <><span role="status">{words}.</span><Button variant="default" onClick={() => setAllowed(state.emptyRun + patience)}>Search further back</Button></>
        : <span role="status">{isFetching && <Loader size={14} mr={8} aria-hidden />}{words}.</span>
      }
    />
  );
}

function LiveList({ query, open, onOpen }: ListProps & { query: AspectQuery }) {
  const { tail, line, pause, resume, retry } = useTail(query, true);
  const before = useQuery({
    queryKey: ["audit", "before", query],
    queryFn: ({ signal }) => body(api.GET("/tenants/{tenant}/audit/events", { params: { path: at(), query: { ...query, limit: 50 } }, signal })),
    gcTime: 0,
    staleTime: Infinity,
  });
  const rows = useMemo(() => onTop(tail, before.data?.data ?? []), [tail, before.data]);
  return (
    <div className={bar.live}>
      <LiveBar tail={tail} line={line} onPause={pause} onResume={resume} onRetry={retry} />
      {rows.length === 0 ? (
        <EmptyState icon={IconListSearch} title="Waiting for the first record">Records appear here in the second in which they are made.</EmptyState>
      ) : (
        <EventList
          rows={rows} open={open} onOpen={onOpen}
          foot={<span>{tail.dropped > 0 ? `The newest ${count(rows.length, "record")}; older ones were let go. ` : ""}Switch Live off to search further back.</span>}
        />
      )}
    </div>
  );
}

function ExportMenu({ search }: { search: AuditSearch }) {
  const query = useQueryFromNow(search);
  const file = (format: "ndjson" | "csv") => exportURL(boot.api, boot.tenant, format, query);
  return (
    <Menu position="bottom-end" shadow="md" transitionProps={{ duration: 0 }}>
      <Menu.Target><Button variant="default" leftSection={<IconDownload size={15} aria-hidden />}>Export</Button></Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>All that match, oldest first</Menu.Label>
        <Menu.Item component="a" href={file("csv")} download>CSV, for a spreadsheet</Menu.Item>
        <Menu.Item component="a" href={file("ndjson")} download>NDJSON, one record a line</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
