import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useMemo, useState } from "react";
import { api, at, body, tagged } from "~/api/client";
import { isStale } from "~/api/problem";
import { toast } from "~/ui/toast";
import { changes, discard, edit, fromMatrix, rebase, redo, toggle, undo, type Model } from "./model";

export const accessQuery = queryOptions({
  queryKey: ["access"],
  queryFn: ({ signal }) => tagged(api.GET("/tenants/{tenant}/access", { params: { path: at() }, signal })),
});

const untagged = "";

/** The matrix in work: what was read, what was edited on top of it, and how it is saved. */
export function useAccess() {
  const client = useQueryClient();
  const query = useQuery(accessQuery);
  const [work, setWork] = useState<{ model: Model; etag: string }>();
  const fresh = query.data;

  if (fresh && work?.etag !== fresh.etag) {
    // Nothing is lost by following the platform while nothing is edited here. Nor right after a
    // save: only reads are tagged, so what was saved is read once more, and one may have gone on.
    if (!work || work.model.pending === 0) setWork({ model: fromMatrix(fresh.data), etag: fresh.etag });
    else if (work.etag === untagged) setWork({ model: rebase(work.model, fresh.data).model, etag: fresh.etag });
  }

  const change = useCallback((step: (model: Model) => Model) => setWork((old) => old && { ...old, model: step(old.model) }), []);
  const actions = useMemo(() => ({
    toggle: (cells: number[]) => change((m) => toggle(m, cells)),
    edit: (cells: number[], open: boolean) => change((m) => edit(m, cells, open)),
    undo: () => change(undo),
    redo: () => change(redo),
    discard: () => change(discard),
  }), [change]);

  const save = useMutation({
    mutationFn: () => body(api.PATCH("/tenants/{tenant}/access", { params: { path: at(), header: { "If-Match": work!.etag } }, body: { changes: changes(work!.model) } })),
    onSuccess: (saved) => {
      const n = work!.model.pending;
      client.setQueryData(accessQuery.queryKey, { data: saved, etag: untagged });
      setWork({ model: fromMatrix(saved), etag: untagged });
      // What roles open is told by tools, people's access and the overview too.
      void client.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== "me" });
      toast.done(n === 1 ? "The change is in force from the next call on." : `The ${n} changes are in force from the next call on.`);
    },
    onError: (error) => { if (isStale(error)) void query.refetch(); },
  });

  /** Takes over what somebody else saved meanwhile and puts our changes on top of it. */
  const catchUp = () => {
    if (!fresh || !work) return;
    const { model, lost } = rebase(work.model, fresh.data);
    setWork({ model, etag: fresh.etag });
    save.reset();
    toast.done(lost.length ? `Not kept: ${lost.join(", ")}.` : "Your changes stand on top of the newest state. Look them over, then save.");
  };

  return { query, model: work?.model, ...actions, save, catchUp, stale: Boolean(fresh && work && fresh.etag !== work.etag), ready: work !== undefined && work.etag !== untagged };
}
