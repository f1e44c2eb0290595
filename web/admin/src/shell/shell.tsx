import { AppShell, Burger, Group, ScrollArea, UnstyledButton, VisuallyHidden } from "@mantine/core";
import { useDisclosure, useOs } from "@mantine/hooks";
import { spotlight } from "@mantine/spotlight";
import { IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect } from "react";
import { meQuery, useCan } from "~/api/me";
import { boot } from "~/boot";
import { focusPage } from "~/lib/page-focus";
import { ErrorState, LoadingState } from "~/ui/states";
import { useBadges, type Badge } from "./badges";
import { Mark } from "./logo";
import { nav } from "./nav";
import { OffBanner } from "./off-banner";
import { PageDenied } from "./page-states";
import { Palette } from "./palette";
import { PersonMenu } from "./person-menu";
import classes from "./shell.module.css";

/** The frame of every page: who and where one is, where one can go. */
export function Shell() {
  const [open, { toggle, close }] = useDisclosure();
  const path = useRouterState({ select: (s) => s.location.pathname });
  useEffect(close, [path, close]);

  return (
    <AppShell header={{ height: 52 }} navbar={{ width: 216, breakpoint: "sm", collapsed: { mobile: !open } }} padding={{ base: "md", sm: "lg" }} transitionDuration={0}>
      <button type="button" className={classes.skip} onClick={focusPage}>Skip to the page</button>
      <AppShell.Header className={classes.header} px={{ base: "sm", sm: "md" }}>
        <Group h="100%" justify="space-between" wrap="nowrap" gap="sm">
          <Group gap="xs" wrap="nowrap" miw={0}>
            <Burger opened={open} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={open ? "Close the menu" : "Open the menu"} aria-expanded={open} />
            <Brand />
          </Group>
          <Group gap="xs" wrap="nowrap">
            <SearchButton />
            <PersonMenu />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar className={classes.navbar} aria-label="Sections" p="xs" pt={4}>
        <Sections />
      </AppShell.Navbar>
      <AppShell.Main className={classes.main} id="main">
        <div className={classes.content}>
          <OffBanner />
          <Page />
        </div>
      </AppShell.Main>
      <Palette />
    </AppShell>
  );
}

function Brand() {
  return (
    <Link to="/" className={classes.brand}>
      <Mark size={26} />
      <span className={classes.brandName}>
        {boot.mode === "ops" ? "Latchkey" : boot.tenantName || boot.tenant}
        <span className={classes.brandKind}>{boot.mode === "ops" ? "Operators" : "Latchkey"}</span>
      </span>
    </Link>
  );
}

function Sections() {
  const can = useCan();
  const badges = useBadges();
  return (
    <ScrollArea type="auto" scrollbarSize={6}>
      {nav.map((group) => {
        const entries = group.entries.filter((entry) => can(entry.permission));
        if (entries.length === 0) return null;
        const id = `nav-${group.label || "top"}`;
        return (
          <div key={id} className={classes.group}>
            {group.label && <div className={classes.groupLabel} id={id}>{group.label}</div>}
            <ul className={classes.list} aria-labelledby={group.label ? id : undefined}>
              {entries.map(({ to, label, icon: Icon }) => (
                <li key={to}>
                  <Link to={to} className={classes.link} activeOptions={{ exact: to === "/", includeSearch: false }}>
                    <Icon size={17} stroke={1.6} aria-hidden />
                    {label}
                    <Waiting badge={badges[to]} />
                  </Link>
                </li>
              ))}
            </ul>
          </div>
        );
      })}
    </ScrollArea>
  );
}

function Waiting({ badge }: { badge: Badge | undefined }) {
  if (!badge) return null;
  return (
    <span className={classes.badge} data-grave={badge.grave || undefined}>
      {badge.count}{badge.more && "+"}
      <VisuallyHidden> {badge.says}</VisuallyHidden>
    </span>
  );
}

function SearchButton() {
  const mac = useOs() === "macos";
  return (
    <>
      <UnstyledButton className={classes.search} visibleFrom="sm" onClick={spotlight.open} aria-keyshortcuts={mac ? "Meta+K" : "Control+K"}>
        <IconSearch size={15} aria-hidden />
        <span>Search or jump to</span>
        <kbd>{mac ? "⌘K" : "Ctrl K"}</kbd>
      </UnstyledButton>
      <UnstyledButton hiddenFrom="sm" p={6} onClick={spotlight.open} aria-label="Search or jump to">
        <IconSearch size={18} aria-hidden style={{ display: "block" }} />
      </UnstyledButton>
    </>
  );
}

/** The page itself, once it is known who asks and that they may see it. */
function Page() {
  const me = useQuery(meQuery);
  const can = useCan();
  const needed = useRouterState({ select: (s) => s.matches.findLast((m) => m.staticData?.permission)?.staticData });
  if (me.isPending) return <LoadingState label="Signing in" />;
  if (me.isError) return <ErrorState error={me.error} onRetry={() => void me.refetch()} />;
  if (!can(needed?.permission)) return <PageDenied permission={needed?.permission ?? ""} what={needed?.what} />;
  return <Outlet />;
}
