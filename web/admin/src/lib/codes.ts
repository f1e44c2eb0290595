import type { Schemas } from "~/api/client";

export type Category = Schemas["Category"];

interface Words {
  /** What happened, to somebody who did not make the call. */
  means: string;
  /** What an administrator can do about it. */
  todo: string;
}

/** docs/errors.md as an administrator needs it: there it tells agents what to do, here the person who looks after them. */
const codes: Record<string, Words> = {
  unauthenticated: { means: "There was no access token, or it had expired, was revoked, or was for another server.", todo: "Nothing, if it is rare: clients sign in again by themselves. If one client does it again and again, revoke its grants and let the person connect it anew." },
  insufficient_scope: { means: "The person has not allowed this app to use the scope.", todo: "Nothing here. The client can ask the person for it; they tick it on the consent page." },
  role_not_allowed: { means: "No role of the person opens the scope, or their account is disabled.", todo: "If they should be able to do this, open the scope for one of their roles under Access, or give them a role that has it." },
  not_found: { means: "There is no such thing, or the caller may not see it. Both answer alike.", todo: "If a client keeps asking, its list of tools is old: let the person reconnect it." },
  switched_off: { means: "The tool, the server, the app, the person or everything was switched off.", todo: "Nothing, while it is meant to be off. The switch stands under Kill switches, with its reason." },
  declined: { means: "The person was asked at the client and said no.", todo: "Nothing." },
  approval_pending: { means: "The call waits for somebody with the named role to decide.", todo: "Decide it under Approvals, if you hold the role." },
  approval_denied: { means: "Whoever decides has refused the call.", todo: "Nothing. Their reason stands with the approval." },
  definition_changed: { means: "The server behind the tool has changed the tool's definition, and nobody has looked at it yet.", todo: "Look at the change on the server's page, and approve or refuse it." },
  connect_needed: { means: "The tool works with the person's own account, which they have not connected.", todo: "Nothing. They were given a link to connect it." },
  egress_refused: { means: "The server is at an address that the platform may not connect to.", todo: "Correct the address, or ask whoever runs the platform to allow it." },
  certificate_refused: { means: "The certificate with which the platform logs in at the server has expired, or that server does not take it.", todo: "Give the server's connection another certificate, with its private key." },
  client_cannot_answer: { means: "The server asked the client for something that it cannot be asked for.", todo: "Nothing here. Another client of that person may support it." },
  invalid_arguments: { means: "The arguments do not fit the tool's input schema.", todo: "Nothing, if the agent corrects itself. If it never does, the tool's description or schema does not say enough." },
  invalid_request: { means: "The request was malformed, or one of its values cannot be stored.", todo: "Look which client sends it; its vendor has to correct that." },
  invalid_spec: { means: "What was declared of a server, role or person cannot be used.", todo: "Correct the line that is named and send it again." },
  conflict: { means: "A name was taken, or the change would contradict what is there.", todo: "Look at what is there first, then repeat the change." },
  stale: { means: "What was to be changed had been changed meanwhile, so nothing was saved.", todo: "Nothing. Whoever it was reads it again and repeats the change." },
  key_reused: { means: "An idempotency key came again with another request.", todo: "Nothing here. The script that sent it has to make a key for each request." },
  confirmation_needed: { means: "The call was answered with a dry run and waits to be confirmed.", todo: "Nothing. If agents never confirm, look at what the dry run tells them." },
  confirmation_invalid: { means: "The confirmation was used, too late, or for another call.", todo: "Nothing. The agent gets a new one by calling without it." },
  task_needed: { means: "The tool runs as a task only, and the client cannot follow one.", todo: "Use a client that declares the MCP extension for tasks, or set task: optional for the tool." },
  tool_sunset: { means: "A client called a tool, or a version of one, that was retired.", todo: "Let the person reconnect that client, so that it lists the tools again." },
  breaking_change: { means: "A revision was refused because it would break who uses its tools.", todo: "Give the tool a new name or version, and deprecate the old one first." },
  unsafe_description: { means: "A revision was refused because a description could mislead a model.", todo: "Correct the place that is named." },
  tool_failed: { means: "The tool ran and failed, or what it is made of does not work.", todo: "Try the tool on its server's page; its spec or its statement needs a correction." },
  server_unhealthy: { means: "The server failed its checks and took no calls.", todo: "Its page says what failed last. It comes back by itself once its checks pass." },
  server_crashed: { means: "The server's process ended during the call.", todo: "Its page has the reason and the end of its log. If it was memory, raise its bound." },
  upstream_unavailable: { means: "The system behind the tool did not answer. Nothing was changed.", todo: "Check that system, and the server's connection under Credentials." },
  credentials_unavailable: { means: "No credential could be issued for the call, so nothing was done.", todo: "Look at the connection under Credentials: it names what failed last." },
  no_worker: { means: "No worker for this server was running. Nothing was done.", todo: "Whoever runs the platform has to start workers for the server's pool." },
  worker_lost: { means: "The worker was lost during the call; repeating it does no harm.", todo: "Nothing, if it is rare. If it goes on, tell whoever runs the platform." },
  outcome_unknown: { means: "The worker was lost during a call with effects. It may or may not have taken effect.", todo: "Look in the system behind the tool whether it happened before anybody repeats it." },
  deadline_exceeded: { means: "The call took longer than the tool may, and was stopped.", todo: "Raise the tool's time limit, or make it do less at a time." },
  result_too_large: { means: "The answer was larger than is allowed.", todo: "Lower the tool's row limit, or give it parameters to narrow its answer." },
  platform_store_unavailable: { means: "The platform's own store did not answer, and what cannot be recorded is not run.", todo: "Tell whoever runs the platform." },
  busy: { means: "All workers or credentials were in use at that moment.", todo: "Nothing, if it is rare. Otherwise the pool needs more workers, or the connection more credentials." },
  limit_reached: { means: "A limit of the tenant, the person, the session or the tool was reached.", todo: "Look whether an agent runs in a loop (Usage, busiest minutes). If not, the limit is too low." },
  repeated_call: { means: "One session made the identical call again and again within a minute.", todo: "An agent runs in a loop. Look which under Audit, and tell its person." },
  cancelled: { means: "The client cancelled the call.", todo: "Nothing." },
  internal_error: { means: "The platform itself could not handle the request.", todo: "Give whoever runs the platform the call's id." },
};

export const codeNames = Object.keys(codes);

export const explainCode = (code: string): Words =>
  codes[code] ?? { means: "A code this console does not know yet; its category says how to take it.", todo: "The API's reference has the list of codes." };

export const categories: Record<Category, { label: string; says: string }> = {
  access: { label: "Access", says: "somebody was not allowed" },
  validation: { label: "Validation", says: "what was sent does not fit" },
  downstream: { label: "Downstream", says: "something behind the platform failed" },
  rate_limit: { label: "Limits", says: "too much at once" },
  internal: { label: "Internal", says: "the platform itself failed" },
};
export const categoryOptions = Object.entries(categories).map(([value, { label }]) => ({ value, label }));
export const categoryLabel = (name: string): string => categories[name as Category]?.label ?? name;
