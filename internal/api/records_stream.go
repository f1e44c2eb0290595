package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Streams answer as they go, so the generator has no form for them. They pass
// the same frame.
func (a *API) registerStreams(e *echo.Echo) {
	e.GET(Base+"/tenants/:tenant/audit/export", a.exportAudit)
	e.GET(Base+"/tenants/:tenant/audit/tail", a.tailAudit)
}

const (
	heartbeatEvery = 15 * time.Second
	// recheckEvery is how long a stream may go on for somebody who may no longer
	// see it.
	recheckEvery = 3 * time.Second
	// writeWithin is how long a reader may take for one part of a stream.
	writeWithin = 15 * time.Second
)

// tailAudit tells of records as they are committed, as server-sent events. A
// stream ends when its reader goes, may no longer read, or is too slow, and
// when the edge shuts down; Last-Event-ID goes on where it ended.
func (a *API) tailAudit(c echo.Context) error {
	ctx := c.Request().Context()
	t := tenantOf(ctx)
	f, err := a.filterOf(ctx, c.QueryParams())
	if err != nil {
		return err
	}
	var from audit.Position
	if last := c.Request().Header.Get("Last-Event-ID"); last != "" {
		at, id, _ := strings.Cut(last, "-")
		if from, err = position(at, id); err != nil {
			return err
		}
	}
	tail, err := a.Records.Tails.Follow(t.ID, f, from)
	if err != nil {
		return err
	}
	defer tail.Close()

	s := newEventStream(c)
	s.send("retry: 2000\n: records of " + t.Slug + " from now on\n\n")
	told := func(es []audit.Event) error { return a.tell(ctx, s, t.ID, es) }
	complete, err := tail.CatchUp(ctx, told)
	if err == nil && !complete {
		err = s.event("", "missed", map[string]string{"detail": "More was recorded meanwhile than is told here. Look for it in the list."})
	}
	if err != nil {
		return s.end(err)
	}
	heartbeat, recheck := time.NewTicker(heartbeatEvery), time.NewTicker(recheckEvery)
	defer heartbeat.Stop()
	defer recheck.Stop()
	for {
		select {
		case batch, open := <-tail.Records():
			if !open {
				return s.end(tail.Err())
			}
			err = told(tail.New(batch))
		case <-heartbeat.C:
			err = s.send(": still here\n\n")
		case <-recheck.C:
			err = a.stillAllowed(c)
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return s.end(err)
		}
	}
}

// tell sends records with the names that they have today.
func (a *API) tell(ctx context.Context, s *eventStream, t tenants.ID, es []audit.Event) error {
	if len(es) == 0 {
		return nil
	}
	names, err := a.Records.Store.AuditNames(ctx, t, es)
	if err != nil {
		return err
	}
	for i := range es {
		if err := s.event(strings.Join(keysOf(audit.PositionOf(&es[i])), "-"), "record", recordOf(&es[i], names)); err != nil {
			return err
		}
	}
	return nil
}

// stillAllowed lets the stream's request in anew. A store that is away decides
// nothing.
func (a *API) stillAllowed(c echo.Context) error {
	old, _ := c.Request().Context().Value(requestKey{}).(*request)
	r := &request{id: old.id, op: old.op}
	var err error
	if r.caller, err = a.Authenticate(c.Request()); err == nil {
		if err = a.findTenant(c, r); err == nil {
			err = r.allowed()
		}
	}
	if err != nil && fault.Of(err).Code.Category == fault.Access {
		return err
	}
	return nil
}

// eventStream writes server-sent events.
type eventStream struct {
	c       echo.Context
	control *http.ResponseController
}

func newEventStream(c echo.Context) *eventStream {
	h := c.Response().Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no") // proxies of nginx's kind
	c.Response().WriteHeader(http.StatusOK)
	return &eventStream{c, http.NewResponseController(c.Response())}
}

func (s *eventStream) send(text string) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeWithin)) // a recorder has none
	if _, err := s.c.Response().Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}

func (s *eventStream) event(id, name string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	return s.send(fmt.Sprintf("%sevent: %s\ndata: %s\n\n", id, name, b))
}

// end says why the stream ends, if anybody still reads: a reader that is sent
// away for good should not come back by itself.
func (s *eventStream) end(why error) error {
	code, detail := "restart", "Connect again."
	switch f := fault.Of(why); {
	case errors.Is(why, audit.ErrTailBehind):
		detail = "Records came faster than they were read. Connect again."
	case f.Code.Category == fault.Access:
		code, detail = f.Code.Name, f.Message
	}
	_ = s.event("", "end", map[string]string{"code": code, "detail": detail})
	return nil
}
