import { createRouter, type RouterHistory } from "@tanstack/react-router";
import { boot } from "./boot";
import * as access from "./pages/access/routes";
import * as apiKeys from "./pages/api-keys/routes";
import * as approvals from "./pages/approvals/routes";
import * as audit from "./pages/audit/routes";
import * as clients from "./pages/clients/routes";
import * as credentials from "./pages/credentials/routes";
import * as deprecations from "./pages/deprecations/routes";
import * as events from "./pages/events/routes";
import * as limits from "./pages/limits/routes";
import * as ops from "./pages/ops/routes";
import * as overview from "./pages/overview/routes";
import * as people from "./pages/people/routes";
import * as servers from "./pages/servers/routes";
import * as settings from "./pages/settings/routes";
import * as switches from "./pages/switches/routes";
import * as tasks from "./pages/tasks/routes";
import * as tools from "./pages/tools/routes";
import * as usage from "./pages/usage/routes";
import { PageError } from "./shell/page-states";
import { opsRoot, root, tenantRoot } from "./routes";

// Both consoles are one tree, so that links are typed; a guard in each half keeps them apart.
const tree = root.addChildren([
  tenantRoot.addChildren([
    servers.servers, servers.serverNew, servers.server, tools.tools, tools.tool, credentials.credentials,
    deprecations.deprecations, approvals.approvals, approvals.approval, events.events, switches.switches, limits.limits, tasks.tasks,
    access.access, people.people, people.person, clients.clients, audit.audit, usage.usage, apiKeys.apiKeys, settings.settings,
  ]),
  opsRoot.addChildren([ops.tenants, ops.tenant, ops.workers, ops.health, ops.operators, ops.mail, ops.platformSwitch]),
  overview.home,
]);

export const makeRouter = (history?: RouterHistory) => createRouter({
  routeTree: tree,
  history,
  basepath: boot.console || "/",
  // Inside the frame: a page that fails leaves the way to the others.
  defaultErrorComponent: PageError,
  defaultPreload: "intent",
  defaultPendingMs: 150,
  scrollRestoration: true,
  defaultStructuralSharing: true,
});

export const router = makeRouter();

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
