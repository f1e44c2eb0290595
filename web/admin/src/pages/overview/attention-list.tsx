import { IconAlertTriangle, IconChevronRight, IconCircleCheck, IconCircleDot } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { Section } from "~/ui/section";
import { EmptyState, LoadingState } from "~/ui/states";
import type { Item } from "./attention";
import classes from "./overview.module.css";

export function AttentionList({ items, loading }: { items: Item[]; loading: boolean }) {
  return (
    <Section title="Needs attention" padded={false}>
      {items.length === 0 ? (
        loading ? <div className={classes.inset}><LoadingState rows={3} /></div> : <EmptyState compact icon={IconCircleCheck} title="Nothing does">Every server answers, nothing is switched off, nobody waits for you, no draft waits and no key is about to expire.</EmptyState>
      ) : (
        <ul className={classes.items}>
          {items.map((item) => (
            <li key={item.key}>
              <ItemLink item={item}>
                {item.grave ? <IconAlertTriangle size={17} aria-label="Urgent" className={classes.grave} /> : <IconCircleDot size={17} aria-hidden className={classes.mild} />}
                <span className={classes.itemWords}>
                  <span className={classes.itemTitle}>{item.title}</span>
                  <span className={classes.itemDetail}>{item.detail}</span>
                </span>
                <IconChevronRight size={16} aria-hidden className={classes.go} />
              </ItemLink>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

function ItemLink({ item: { to }, children }: { item: Item; children: ReactNode }) {
  if (to.to === "/servers/$server") return <Link to="/servers/$server" params={{ server: to.server }} search={{ tab: to.tab, revision: to.revision }} className={classes.item}>{children}</Link>;
  if (to.to === "/audit") return <Link to="/audit" search={{ outcome: to.outcome }} className={classes.item}>{children}</Link>;
  if (to.to === "/events") return <Link to="/events" search={{ open: to.open }} className={classes.item}>{children}</Link>;
  if (to.to === "/approvals/$approval") return <Link to="/approvals/$approval" params={{ approval: to.approval }} className={classes.item}>{children}</Link>;
  return <Link to={to.to} className={classes.item}>{children}</Link>;
}
