import { useElementSize, useMergedRef } from "@mantine/hooks";
import { memo, useCallback, useEffect, useId, useLayoutEffect, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import { duration, exactTime, logTime } from "~/lib/time";
import { visibleRows } from "~/lib/window";
import { OutcomeMark } from "~/ui/outcome";
import type { AuditEvent } from "./tail";
import { action, who } from "./words";
import classes from "./list.module.css";

interface Props {
  rows: readonly AuditEvent[];
  /** Id of the record whose details are open. */
  open: string | undefined;
  onOpen: (id: string) => void;
  /** Called whenever the end of the list comes near. */
  onEnd?: () => void;
  foot: ReactNode;
}

const columns = ["Time", "Outcome", "What", "Who", "Client", "Code", "Took"];
const headHeight = 36;

/** Records in rows of one height, of which only those in sight exist: thousands scroll like ten. */
export function EventList({ rows, open, onOpen, onEnd, foot }: Props) {
  const id = useId();
  const box = useRef<HTMLDivElement>(null);
  const { ref: sized, width, height } = useElementSize<HTMLDivElement>();
  const ref = useMergedRef(box, sized);
  const [top, setTop] = useState(0);
  const [active, setActive] = useState<string>();
  const narrow = width > 0 && width < 720;
  const rowHeight = narrow ? 58 : 38;
  const head = narrow ? 0 : headHeight;
  const { from, to } = visibleRows(top - head, height || 600, rowHeight, rows.length);
  const at = Math.max(0, rows.findIndex((e) => e.id === active));

  // Newer records above what is being read must not move it.
  const first = useRef(rows[0]?.id);
  useLayoutEffect(() => {
    const before = first.current;
    first.current = rows[0]?.id;
    if (!box.current || !before || before === rows[0]?.id || box.current.scrollTop <= head) return;
    const moved = rows.findIndex((e) => e.id === before);
    if (moved > 0) box.current.scrollTop += moved * rowHeight;
  }, [rows, rowHeight, head]);

  const nearEnd = to >= rows.length - 20;
  useEffect(() => { if (nearEnd) onEnd?.(); }, [nearEnd, onEnd]);

  const reveal = (index: number) => {
    const el = box.current;
    if (!el) return;
    const y = head + index * rowHeight;
    if (y - head < el.scrollTop) el.scrollTop = y - head;
    else if (y + rowHeight > el.scrollTop + el.clientHeight) el.scrollTop = y + rowHeight - el.clientHeight;
  };
  const onKeyDown = (e: KeyboardEvent) => {
    if (e.target !== box.current || e.ctrlKey || e.metaKey || e.altKey) return;
    const page = Math.max(1, Math.floor(height / rowHeight) - 1);
    const moves: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: rows.length - 1 };
    if (e.key === "Enter" || e.key === " ") {
      e.preventDefault();
      const event = rows[at];
      if (event) onOpen(event.id);
    } else if (e.key in moves) {
      e.preventDefault();
      const next = Math.min(rows.length - 1, Math.max(0, moves[e.key]!));
      setActive(rows[next]?.id);
      reveal(next);
    }
  };
  const choose = useCallback((event: AuditEvent) => {
    setActive(event.id);
    onOpen(event.id);
  }, [onOpen]);

  return (
    <div
      ref={ref} className={classes.box} data-narrow={narrow || undefined} role="grid" tabIndex={0} aria-label="Records" aria-rowcount={rows.length + 1} aria-colcount={columns.length}
      aria-activedescendant={rows.length ? `${id}-${at}` : undefined} onKeyDown={onKeyDown} onScroll={(e) => setTop(e.currentTarget.scrollTop)}
    >
      <div className={classes.head} role="row" aria-rowindex={1}>
        {columns.map((name, i) => <span key={name} role="columnheader" className={i === 6 ? classes.right : undefined}>{name}</span>)}
      </div>
      <div className={classes.inner} style={{ height: rows.length * rowHeight }} role="presentation">
        {rows.slice(from, to).map((event, i) => (
          <EventRow key={event.id} id={`${id}-${from + i}`} event={event} index={from + i} height={rowHeight} open={event.id === open} active={from + i === at} onChoose={choose} />
        ))}
      </div>
      {/* What a grid may hold is rows, so the foot is one. */}
      <div role="row" aria-rowindex={rows.length + 2}><div role="gridcell" aria-colspan={columns.length} className={classes.foot}>{foot}</div></div>
    </div>
  );
}

interface RowProps {
  id: string;
  event: AuditEvent;
  index: number;
  height: number;
  open: boolean;
  active: boolean;
  onChoose: (event: AuditEvent) => void;
}

const EventRow = memo(function EventRow({ id, event, index, height, open, active, onChoose }: RowProps) {
  const tone = event.outcome === "refused" || event.outcome === "failed" ? event.outcome : event.outcome === "unknown" ? "failed" : undefined;
  return (
    // The grid has the focus and the keys; a row is only pointed at.
    // oxlint-disable-next-line jsx-a11y/click-events-have-key-events
    <div id={id} role="row" tabIndex={-1} aria-rowindex={index + 2} aria-selected={open} className={classes.row} data-tone={tone} data-active={active || undefined} style={{ top: index * height, height }} onClick={() => onChoose(event)}>
      <span role="gridcell" className={classes.time} title={exactTime(event.at)}>{logTime(event.at)}</span>
      <span role="gridcell" className={classes.outcome}><OutcomeMark outcome={event.outcome} /></span>
      <span role="gridcell" className={classes.what} title={event.tool}>{action(event)}{event.server && <span className={classes.server}> · {event.server}</span>}</span>
      <span role="gridcell" className={classes.who} title={who(event)}>{who(event)}</span>
      <span role="gridcell" className={classes.hide} title={event.client_name ?? event.client}>{event.client_name ?? event.client ?? ""}</span>
      <span role="gridcell" className={`${classes.code} ${classes.hide}`}>{event.code ?? ""}</span>
      <span role="gridcell" className={`${classes.right} ${classes.hide}`}>{event.latency_ms !== undefined && event.phase !== "intent" ? duration(event.latency_ms) : ""}</span>
    </div>
  );
});
