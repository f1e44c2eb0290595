import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, at, body } from "~/api/client";
import type { Declared } from "~/connection/sql";
import type { Server } from "./queries";
import type { About } from "./wizard";

/** What the wizard knows of a server that is to be. */
export interface Draft {
  about: About;
  /** Undefined for a kind without one. */
  connection: (() => Declared) | undefined;
  spec: string;
  saved: Server | undefined;
  /** Puts what the platform says about the connection beside its fields, and goes there. */
  onConnectionProblem: (error: unknown) => void;
  onSaved: (server: Server) => void;
}

/** Saves the draft. Once it is saved, Vault has the connection; only the spec goes on changing. */
export function useSave({ about, connection, spec, saved, onConnectionProblem, onSaved }: Draft) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => body(api.PUT("/tenants/{tenant}/servers/{server}", {
      params: { path: at({ server: about.slug }) },
      body: {
        kind: about.kind, title: about.title.trim(), description: about.description.trim(), spec_yaml: spec, publish: false,
        ...(connection && !saved ? { connection: connection() } : {}),
      },
    })),
    onSuccess: async (server) => {
      await client.invalidateQueries({ queryKey: ["servers"] });
      onSaved(server);
    },
    onError: onConnectionProblem,
  });
}
