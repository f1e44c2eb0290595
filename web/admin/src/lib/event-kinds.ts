import type { Schemas } from "~/api/client";

export type EventKind = Schemas["EventKind"];

interface Words {
  label: string;
  /** What happened, to somebody who was not there. */
  means: string;
  /** What an administrator can do about it. */
  todo: string;
}

/** What raises an event, and what it asks of the person who looks. */
export const eventKinds: Record<EventKind, Words> = {
  secret_withheld: { label: "Credential withheld", means: "A result held something that looks like a credential. It was taken out before the result left; the agent has not seen it.", todo: "Find where it comes from in the system behind the tool and rotate it: whoever put it there may have shown it elsewhere. If the field never holds anything useful, leave it out with the tool's guard." },
  injection_flagged: { label: "Instructions in a result", means: "A text in a result tells the model what to do. It went out marked as untrusted; whether an agent followed it is not known.", todo: "Look what the same person's agent called next. If the text is an attack, remove it at its source, and switch off the tool until then." },
  repeated_calls: { label: "Agent in a loop", means: "One session made the identical call again and again within a minute, and was refused.", todo: "Tell the person to stop that agent. If it goes on, switch off their app or revoke the grant." },
  fan_out: { label: "Many calls in a minute", means: "One person's agents made more calls within a minute than the tenant's limit for an event. Nothing was refused for it.", todo: "Ask the person whether they meant it. If it is how they work, raise the number under Limits." },
  outcome_unknown: { label: "Outcome unknown", means: "A worker was lost in the middle of a call with effects. It may or may not have taken effect, and is not repeated.", todo: "Look in the system behind the tool whether it happened, before anybody repeats it." },
  approval_requested: { label: "Approval asked for", means: "A call waits until somebody with the role decides.", todo: "Decide it under Approvals, if you hold the role." },
  switched_off: { label: "Switched off", means: "Somebody used a kill switch.", todo: "Nothing, while it is meant to be off. Its reason stands under Kill switches." },
  switched_on: { label: "Switched on again", means: "A kill switch was lifted, or its time has run out. Calls go through again.", todo: "Nothing. If it ran out too early, switch it off again." },
  definition_changed: { label: "Upstream changed", means: "The server behind offers other tools than somebody here agreed to, or describes them otherwise. What changed is held back: it is shown to nobody, and calls of it are refused.", todo: "Look at the difference and approve or refuse it. A description that tells the model what to do is an attack: refuse it, and ask whoever runs that server." },
  server_unhealthy: { label: "Server does not answer", means: "Several probes in a row failed. Its calls are refused at once until one is answered; nothing else has to be done for that.", todo: "Its health says what failed. Look at the system behind it, its address and its credentials." },
  limits_degraded: { label: "Limits counted apart", means: "The store that counts calls for all edges is away, so each edge counts for itself. Limits still hold, but each edge lets that many through.", todo: "Tell whoever runs the platform that Valkey does not answer." },
  account_expired: { label: "Account to connect again", means: "The upstream renews the authorization of an account no more, so calls that run with it are refused.", todo: "Connect the tenant's account again on the server's page. A person's own they connect themselves: their calls name the page." },
};

export const eventKindOptions = Object.entries(eventKinds).map(([value, { label }]) => ({ value, label }));

export const explainEvent = (kind: string): Words =>
  eventKinds[kind as EventKind] ?? { label: kind.replaceAll("_", " "), means: "A kind that this console does not know yet.", todo: "Its detail says what happened." };
