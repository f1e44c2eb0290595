import {
  IconAdjustments, IconBuilding, IconCpu, IconGridDots, IconHeartbeat, IconKey, IconLayoutDashboard, IconListSearch, IconLock, IconMail,
  IconBellExclamation, IconChartHistogram, IconChecklist, IconClockPlay, IconGauge, IconHourglassEmpty, IconPlugConnected, IconPower, IconServer2, IconShieldCog, IconTool, IconUsers, type Icon,
} from "@tabler/icons-react";
import { boot } from "~/boot";

export interface NavEntry {
  label: string;
  to: "/" | "/servers" | "/tools" | "/credentials" | "/access" | "/people" | "/clients" | "/audit" | "/usage" | "/approvals" | "/events" | "/switches" | "/limits" | "/deprecations" | "/tasks" | "/api-keys" | "/settings" | "/tenants" | "/workers" | "/health" | "/operators" | "/mail" | "/switch";
  icon: Icon;
  permission?: string;
  /** What the palette also finds it by. */
  also?: string;
}
export interface NavGroup {
  label: string;
  entries: NavEntry[];
}

const tenant: NavGroup[] = [
  { label: "", entries: [{ label: "Overview", to: "/", icon: IconLayoutDashboard, permission: "tenant:read", also: "home start setup connect" }] },
  {
    label: "Build",
    entries: [
      { label: "Servers", to: "/servers", icon: IconServer2, permission: "servers:read", also: "mcp revisions publish" },
      { label: "Tools", to: "/tools", icon: IconTool, permission: "servers:read", also: "scope risk schema" },
      { label: "Deprecations", to: "/deprecations", icon: IconHourglassEmpty, permission: "servers:read", also: "sunset versions successor retire" },
      { label: "Credentials", to: "/credentials", icon: IconLock, permission: "servers:read", also: "vault lease secret" },
    ],
  },
  {
    label: "Grant",
    entries: [
      { label: "Access", to: "/access", icon: IconGridDots, permission: "roles:read", also: "roles scopes matrix permissions" },
      { label: "People", to: "/people", icon: IconUsers, permission: "members:read", also: "members invitations sso" },
      { label: "Clients", to: "/clients", icon: IconPlugConnected, permission: "clients:read", also: "apps grants consent revoke" },
    ],
  },
  {
    label: "Safety",
    entries: [
      { label: "Approvals", to: "/approvals", icon: IconChecklist, also: "decide approve deny pending wait" },
      { label: "Events", to: "/events", icon: IconBellExclamation, permission: "events:read", also: "alert loop secret injection acknowledge" },
      { label: "Kill switches", to: "/switches", icon: IconPower, permission: "switches:read", also: "stop off emergency incident" },
      { label: "Limits", to: "/limits", icon: IconGauge, permission: "limits:read", also: "rate burst concurrency repeats fan-out" },
    ],
  },
  {
    label: "Watch",
    entries: [
      { label: "Audit", to: "/audit", icon: IconListSearch, permission: "audit:read", also: "calls log denied" },
      { label: "Tasks", to: "/tasks", icon: IconClockPlay, permission: "servers:read", also: "long running cancel queued progress" },
      { label: "Usage", to: "/usage", icon: IconChartHistogram, permission: "usage:read", also: "latency errors p95" },
    ],
  },
  {
    label: "Manage",
    entries: [
      { label: "API keys", to: "/api-keys", icon: IconKey, permission: "keys:read", also: "token client credentials" },
      { label: "Settings", to: "/settings", icon: IconAdjustments, permission: "tenant:read", also: "quota apply export sso" },
    ],
  },
];

const ops: NavGroup[] = [
  { label: "", entries: [{ label: "Tenants", to: "/tenants", icon: IconBuilding, also: "quota suspend" }] },
  {
    label: "Run",
    entries: [
      { label: "Workers", to: "/workers", icon: IconCpu, also: "pool slots" },
      { label: "Health", to: "/health", icon: IconHeartbeat, also: "status postgres vault nats" },
      { label: "Kill switch", to: "/switch", icon: IconPower, also: "stop off emergency incident" },
    ],
  },
  {
    label: "Manage",
    entries: [
      { label: "Operators", to: "/operators", icon: IconShieldCog, also: "keys people" },
      { label: "Mail", to: "/mail", icon: IconMail, also: "outbox smtp" },
    ],
  },
];

export const nav: NavGroup[] = boot.mode === "ops" ? ops : tenant;
