import { Button, Group, Text } from "@mantine/core";
import { useInfiniteQuery, type QueryKey } from "@tanstack/react-query";
import { DataTable, type DataTableColumn, type DataTableProps } from "mantine-datatable";
import type { ReactNode } from "react";
import { count } from "~/lib/words";
import { ErrorState, LoadingState } from "./states";
import classes from "./paged-table.module.css";

/** What every list of the API answers. */
export interface CursorPage<T> {
  data: T[];
  next_cursor?: string;
  has_more: boolean;
}

/** Reads a list page after page; `read` gets the cursor of the page it is asked for. */
export function usePages<T>(key: QueryKey, read: (cursor: string | undefined, signal: AbortSignal) => Promise<CursorPage<T>>, enabled = true) {
  return useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam, signal }) => read(pageParam, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => (last.has_more ? last.next_cursor : undefined),
    enabled,
  });
}

interface Props<T> {
  pages: ReturnType<typeof usePages<T>>;
  /** Names the table: "Servers". */
  label: string;
  /** One of them, for the count below: "server". */
  one: string;
  many?: string;
  columns: DataTableColumn<T>[];
  rowKey: keyof T & string;
  empty: ReactNode;
  onRowClick?: (row: T) => void;
  more?: Partial<Pick<DataTableProps<T>, "rowExpansion" | "selectedRecords" | "onSelectedRecordsChange" | "rowClassName">>;
}

/**
 * A list over cursor pages, with all its states. The first column should hold a link, for the keyboard;
 * a last one named `actions` stays in sight where the others do not fit.
 */
export function PagedTable<T>({ pages, label, one, many, columns, rowKey, empty, onRowClick, more }: Props<T>) {
  if (pages.isPending) return <LoadingState rows={7} label={`Loading: ${label}`} />;
  if (pages.isError && !pages.data) return <ErrorState error={pages.error} onRetry={() => void pages.refetch()} />;
  const rows = pages.data?.pages.flatMap((page) => page.data) ?? [];
  if (rows.length === 0) return empty;
  return (
    <div>
      <DataTable<T>
        {...(more as object)}
        records={rows} columns={columns} idAccessor={rowKey as never} withTableBorder={false} borderRadius="lg" highlightOnHover={onRowClick !== undefined}
        pinLastColumn={columns.at(-1)?.accessor === "actions"} className={classes.table} verticalSpacing={9} horizontalSpacing="sm" fz="sm"
        onRowClick={onRowClick && (({ record }) => onRowClick(record))}
        scrollAreaProps={{ viewportProps: { tabIndex: 0, role: "region", "aria-label": label } }}
        minHeight={0}
      />
      <Group justify="space-between" mt="sm" px={4}>
        <Text size="xs" c="dimmed" className="num" role="status">{count(rows.length, one, many)}{pages.hasNextPage && " so far"}</Text>
        {pages.hasNextPage && <Button variant="default" loading={pages.isFetchingNextPage} onClick={() => void pages.fetchNextPage()}>Show more</Button>}
      </Group>
      {pages.isFetchNextPageError && <ErrorState error={pages.error} onRetry={() => void pages.fetchNextPage()} />}
    </div>
  );
}
