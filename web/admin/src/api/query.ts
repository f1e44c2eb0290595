import { QueryClient } from "@tanstack/react-query";
import { ProblemError } from "./problem";

/** A refusal stays one however often it is asked for; only what may pass by itself is tried again. */
export function mayPass(error: unknown): boolean {
  return !(error instanceof ProblemError) || error.status >= 500;
}

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: { staleTime: 15_000, retry: (count, error) => count < 2 && mayPass(error) },
    mutations: { retry: false },
  },
});
