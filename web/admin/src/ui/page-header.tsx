import { Anchor, Group, Text, Title, type AnchorProps } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import { createLink } from "@tanstack/react-router";
import type { ReactNode, Ref } from "react";
import { boot } from "~/boot";
import { usePageFocus } from "~/lib/page-focus";
import classes from "./page-header.module.css";

interface Props {
  title: string;
  /** What the page is for, in one sentence. */
  children?: ReactNode;
  /** The way back up: links, outermost first. */
  trail?: ReactNode;
  /** Beside the title: a state, a mark. */
  badge?: ReactNode;
  actions?: ReactNode;
}

/** The one h1 of a page; also names the document and takes the focus after navigation. */
export function PageHeader({ title, children, trail, badge, actions }: Props) {
  const heading = usePageFocus<HTMLHeadingElement>();
  useDocumentTitle(`${title} · ${boot.mode === "ops" ? "Operators" : boot.tenantName || boot.tenant} · Latchkey`);
  return (
    <header className={classes.header}>
      {trail && <nav aria-label="Breadcrumb" className={classes.trail}>{trail}</nav>}
      <Group justify="space-between" align="flex-start" gap="sm">
        <div className={classes.words}>
          <Group gap="sm" align="center">
            <Title order={1} ref={heading} tabIndex={-1}>{title}</Title>
            {badge}
          </Group>
          {children && <Text c="dimmed" size="sm" mt={3} maw={720}>{children}</Text>}
        </div>
        {actions && <Group gap="xs">{actions}</Group>}
      </Group>
    </header>
  );
}

/** A link of the trail. */
export const Crumb = createLink((props: AnchorProps & { ref?: Ref<HTMLAnchorElement> }) => <Anchor size="sm" c="dimmed" {...props} />);
