import { Spotlight, spotlight, type SpotlightActionData, type SpotlightActionGroupData } from "@mantine/spotlight";
import { IconSearch, IconServer2, IconUser } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useCan } from "~/api/me";
import { boot } from "~/boot";
import { nav } from "./nav";
import { findPeople, findServers } from "./find";

/** Jumps to a page, a server or a person (Ctrl K). */
export function Palette() {
  const [query, setQuery] = useState("");
  const [open, setOpen] = useState(false);
  const can = useCan();
  const go = useNavigate();
  const asTenant = boot.mode === "tenant" && open;
  const servers = useQuery({ ...findServers, enabled: asTenant && can("servers:read") });
  const people = useQuery({ ...findPeople, enabled: asTenant && can("members:read") });

  const pages: SpotlightActionData[] = nav.flatMap((g) => g.entries).filter((e) => can(e.permission)).map(({ label, to, icon: Icon, also }) => ({
    id: `page ${to}`,
    label,
    keywords: also?.split(" "),
    leftSection: <Icon size={17} stroke={1.6} aria-hidden />,
    onClick: () => void go({ to }),
  }));
  const actions: SpotlightActionGroupData[] = [
    { group: "Pages", actions: pages },
    {
      group: "Servers",
      actions: (servers.data ?? []).map((s) => ({
        id: `server ${s.slug}`, label: s.title || s.slug, description: s.slug, leftSection: <IconServer2 size={17} stroke={1.6} aria-hidden />,
        onClick: () => void go({ to: "/servers/$server", params: { server: s.slug } }),
      })),
    },
    {
      group: "People",
      actions: (people.data ?? []).map((p) => ({
        id: `person ${p.id}`, label: p.name || p.email, description: p.email, leftSection: <IconUser size={17} stroke={1.6} aria-hidden />,
        onClick: () => void go({ to: "/people", search: { q: p.email } }),
      })),
    },
  ].filter((g) => g.actions.length > 0);

  return (
    <Spotlight
      shortcut={["mod + K"]}
      actions={actions}
      query={query}
      onQueryChange={setQuery}
      onSpotlightOpen={() => setOpen(true)}
      onSpotlightClose={() => { setQuery(""); spotlight.close(); }}
      limit={12}
      scrollable
      maxHeight={420}
      highlightQuery
      nothingFound="Nothing of that name"
      searchProps={{ placeholder: "Page, server or person", "aria-label": "Page, server or person", leftSection: <IconSearch size={16} aria-hidden /> }}
      transitionProps={{ duration: 0 }}
      overlayProps={{ blur: 0, backgroundOpacity: 0.32 }}
      centered={false}
      yOffset="12vh"
      attributes={{ content: { "aria-label": "Search or jump to" } }}
    />
  );
}
