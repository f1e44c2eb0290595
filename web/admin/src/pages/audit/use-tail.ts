import { useEffect, useReducer, useState } from "react";
import { signIn } from "~/api/client";
import { problemOf, ProblemError } from "~/api/problem";
import { boot } from "~/boot";
import { eventParser } from "~/lib/sse";
import type { AspectQuery } from "./filters";
import { noTail, pause, receive, resume, type AuditEvent, type Tail } from "./tail";

export type LineState = { is: "connecting" } | { is: "open" } | { is: "waiting"; until: number } | { is: "failed"; error: unknown };

type Step = { do: "receive"; events: AuditEvent[] } | { do: "pause" } | { do: "resume" } | { do: "clear" };

function step(tail: Tail, action: Step): Tail {
  switch (action.do) {
    case "receive": return receive(tail, action.events);
    case "pause": return pause(tail);
    case "resume": return resume(tail);
    case "clear": return noTail;
  }
}

/** Longer than the platform ever stays silent: it sends a comment every so often. */
const silence = 60_000;
/** Many records a second are drawn together. */
const gather = 100;

/** Follows the tail while `on`, through broken lines and restarts of the platform. */
export function useTail(query: AspectQuery, on: boolean) {
  const [tail, act] = useReducer(step, noTail);
  const [line, setLine] = useState<LineState>({ is: "connecting" });
  /** Counts up when the person does not want to wait. */
  const [attempt, setAttempt] = useState(1);
  const address = `${boot.api}/tenants/${boot.tenant}/audit/tail?${new URLSearchParams(query as Record<string, string>)}`;

  useEffect(() => {
    if (!on || attempt === 0) return;
    const stop = new AbortController();
    let waiting: AuditEvent[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const take = (event: AuditEvent) => {
      waiting.push(event);
      timer ??= setTimeout(() => {
        timer = undefined;
        act({ do: "receive", events: waiting });
        waiting = [];
      }, gather);
    };
    act({ do: "clear" });
    void follow(address, stop.signal, take, setLine);
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [address, on, attempt]);

  return {
    tail, line,
    pause: () => act({ do: "pause" }),
    resume: () => act({ do: "resume" }),
    retry: () => setAttempt((n) => n + 1),
  };
}

async function follow(address: string, signal: AbortSignal, take: (event: AuditEvent) => void, say: (state: LineState) => void) {
  let last = "";
  let failures = 0;
  while (!signal.aborted) {
    if (failures === 0) say({ is: "connecting" });
    try {
      await listen(address, last, signal, () => { failures = 0; say({ is: "open" }); }, (event, id) => { last = id || last; take(event); });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ProblemError && error.status === 401) return signIn();
      // A refusal stays one; anything else may pass.
      if (error instanceof ProblemError && error.status < 500 && error.status !== 429 && error.status !== 408) return say({ is: "failed", error });
    }
    if (signal.aborted) return;
    const wait = Math.min(15_000, 1000 * 2 ** failures++);
    say({ is: "waiting", until: Date.now() + wait });
    await sleep(wait, signal);
  }
}

async function listen(address: string, last: string, signal: AbortSignal, opened: () => void, take: (event: AuditEvent, id: string) => void) {
  const quiet = new AbortController();
  let watchdog = setTimeout(() => quiet.abort(), silence);
  try {
    const response = await fetch(address, {
      headers: { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) },
      credentials: "same-origin",
      signal: AbortSignal.any([signal, quiet.signal]),
    });
    if (!response.ok || !response.body) throw await problemOf(response);
    opened();
    const parse = eventParser(({ event, data, id }) => { if (event === "record") take(JSON.parse(data) as AuditEvent, id); });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(() => quiet.abort(), silence);
      parse(value);
    }
  } finally {
    clearTimeout(watchdog);
  }
}

function sleep(ms: number, signal: AbortSignal) {
  return new Promise<void>((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}
