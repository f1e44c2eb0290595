package main

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/events"
	"latchkey/internal/switches"
)

// toggles is what an edge does about kill switches beside refusing calls: it
// stops those that run, notices switches that have run out, and counts.
type toggles struct {
	wake chan struct{}
	stop func(ctx context.Context) error
	on   atomic.Pointer[map[switches.Kind]int] // nil: not counted yet
}

// look is called when a switch has changed, or may have. It does not wait.
func (t *toggles) look() {
	select {
	case t.wake <- struct{}{}:
	default: // it will look anyway, and has not begun to
	}
}

const (
	endEvery   = 15 * time.Second // how late a switch that ran out is told of
	retryAfter = 200 * time.Millisecond
)

// watchSwitches follows what changes until ctx ends. Every edge does; which of
// them tells of one that ran out is the store's to say.
func (pl *platform) watchSwitches(ctx context.Context) {
	for {
		wait := endEvery
		if err := pl.toggles.stop(ctx); err != nil && ctx.Err() == nil {
			pl.log.Error("calls of what is switched off were not stopped yet; trying again", "error", err)
			wait = retryAfter
		}
		if _, err := pl.board.EndSwitches(ctx, time.Now()); err != nil && ctx.Err() == nil {
			pl.log.Error("end switches that have run out", "error", err)
		}
		if n, err := pl.db.CountSwitches(ctx, time.Now()); err == nil {
			pl.toggles.on.Store(&n)
		} else if ctx.Err() == nil {
			pl.log.Error("count switches", "error", err)
		}
		again := time.NewTimer(wait)
		select {
		case <-pl.toggles.wake:
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return
		}
		again.Stop()
	}
}

// tellOfSwitch raises the event of a switch that was put, lifted or ended.
func (pl *platform) tellOfSwitch(ctx context.Context, s switches.Switch) {
	e := events.Event{
		Tenant: s.Tenant, At: time.Now(), Kind: events.SwitchedOn, Severity: events.Info, Detail: s.Says(),
		User: s.Target.Member, Client: s.Target.Client, Server: s.Target.Server, Tool: s.Target.Tool,
	}
	if s.LiftedAt.IsZero() {
		e.Kind, e.Severity = events.SwitchedOff, events.Warning
		if s.Target.Kind == switches.Platform || s.Target.Kind == switches.Tenant {
			e.Severity = events.Critical
		}
	}
	pl.events.Raise(ctx, e)
}

func countEvent(e events.Event) {
	eventsRaised.WithLabelValues(string(e.Kind), string(e.Severity)).Inc()
}

// countSwitched counts a call that a switch refused or stopped.
func countSwitched(e audit.Event) {
	if target, ok := e.Notes[audit.NoteSwitch].(string); ok {
		kind, _, _ := strings.Cut(target, ":")
		switchRefusals.WithLabelValues(kind).Inc()
	}
}
