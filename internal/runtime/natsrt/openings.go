package natsrt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// openingRequest asks for an opening, or with People which of them there are.
type openingRequest struct {
	Tenant   tenants.ID          `json:"tenant"`
	Server   registry.ServerID   `json:"server,omitempty"`
	Revision registry.RevisionID `json:"revision,omitempty"`
	People   []tenants.UserID    `json:"people,omitempty"`
}

type openingReply struct {
	Opening *runtime.Opening  `json:"opening,omitempty"`
	People  *[]tenants.UserID `json:"people,omitempty"`
	Fault   json.RawMessage   `json:"fault,omitempty"`
}

// maxPeople bounds one question.
const maxPeople = 1000

// Openings asks any edge.
type Openings struct{ conn *nats.Conn }

// NewOpenings asks any edge for openings. What comes back is not believed:
// runtime compares it with the hash in the call.
func NewOpenings(conn *nats.Conn) Openings { return Openings{conn} }

// Opening is that of a server (runtime.Openings).
func (o Openings) Opening(ctx context.Context, t tenants.ID, s registry.ServerID, r registry.RevisionID) (runtime.Opening, error) {
	reply, err := o.ask(ctx, openingRequest{Tenant: t, Server: s, Revision: r})
	if err != nil {
		return runtime.Opening{}, err
	}
	if reply.Opening == nil {
		return runtime.Opening{}, errors.New("opening: empty answer")
	}
	return *reply.Opening, nil
}

// People gives those of the people whom the tenant has.
func (o Openings) People(ctx context.Context, t tenants.ID, all []tenants.UserID) (known []tenants.UserID, err error) {
	for some := range slices.Chunk(all, maxPeople) {
		reply, err := o.ask(ctx, openingRequest{Tenant: t, People: some})
		if err != nil {
			return nil, err
		}
		if reply.People == nil { // an edge of before it was asked this
			return nil, errors.New("people: empty answer")
		}
		known = append(known, *reply.People...)
	}
	return known, nil
}

func (o Openings) ask(ctx context.Context, q openingRequest) (reply openingReply, err error) {
	req, err := json.Marshal(q)
	if err != nil {
		return reply, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := o.conn.RequestWithContext(ctx, openingGet, req)
	if err != nil {
		return reply, fault.New(fault.StoreAway, "The platform could not say how to open this server. Nothing was done; try again in a few seconds.").After(2 * time.Second).Because(err)
	}
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return reply, fmt.Errorf("opening: %w", err)
	}
	if reply.Fault == nil {
		return reply, nil
	}
	f, err := decodeFault(reply.Fault)
	if err != nil {
		return reply, fmt.Errorf("opening: %w", err)
	}
	return reply, f
}

// OpeningFunc finds an opening in the edge's registry.
type OpeningFunc func(ctx context.Context, t tenants.ID, s registry.ServerID, r registry.RevisionID) (runtime.Opening, error)

// PeopleFunc gives those of the people whom a tenant has.
type PeopleFunc func(ctx context.Context, t tenants.ID, all []tenants.UserID) ([]tenants.UserID, error)

// leaveTime bounds how long an edge that closes still answers.
const leaveTime = 2 * time.Second

func (e *Edge) answerOpenings() (err error) {
	// Each in a goroutine: one slow lookup must not hold up the others.
	if e.asked, err = e.conn.QueueSubscribe(openingGet, edgesQueue, func(m *nats.Msg) { e.answers.Go(func() { e.onOpening(m) }) }); err != nil {
		return fmt.Errorf("subscribe %s: %w", openingGet, err)
	}
	e.asked.SetClosedHandler(func(string) { close(e.unasked) })
	return e.asked.SetPendingLimits(-1, 256<<20)
}

// leaveOpenings takes no more questions and answers those that were sent to
// this edge already: a worker asks one edge, and would wait in vain for it.
func (e *Edge) leaveOpenings() {
	if e.asked == nil {
		return
	}
	if err := e.asked.Drain(); err != nil {
		return // the connection is closed: nothing comes, and nothing can be said
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		<-e.unasked
		e.answers.Wait()
	}()
	select {
	case <-over:
		_ = e.conn.FlushTimeout(leaveTime)
	case <-time.After(leaveTime):
	}
}

// onOpening answers a worker's request.
func (e *Edge) onOpening(m *nats.Msg) {
	ctx, cancel := context.WithTimeout(e.base, 5*time.Second)
	defer cancel()
	reply, err := e.lookUp(ctx, m.Data)
	if err != nil {
		e.log.Warn("opening not given", "err", err)
		reply = openingReply{Fault: encodeFault(fault.Of(err))}
	}
	b, err := json.Marshal(reply)
	if err == nil {
		err = m.Respond(b)
	}
	if err != nil {
		e.log.Warn("opening not sent", "err", err)
	}
}

func (e *Edge) lookUp(ctx context.Context, data []byte) (reply openingReply, err error) {
	var req openingRequest
	if err := json.Unmarshal(data, &req); err != nil {
		return reply, fault.New(fault.InvalidRequest, "The worker's request could not be read.").Because(err)
	}
	t, err := tenants.ParseID(string(req.Tenant))
	if err != nil {
		return reply, fmt.Errorf("opening: %w", err)
	}
	if len(req.People) > 0 {
		known, err := e.lookUpPeople(ctx, t, req.People)
		return openingReply{People: &known}, err
	}
	defer fault.Wrap(&err, "opening of server %s revision %s of %s", req.Server, req.Revision, req.Tenant)
	s, err := tenants.ParseServerID(string(req.Server))
	if err != nil {
		return reply, err
	}
	opening, err := e.opening(ctx, t, s, req.Revision)
	return openingReply{Opening: &opening}, err
}

func (e *Edge) lookUpPeople(ctx context.Context, t tenants.ID, all []tenants.UserID) (known []tenants.UserID, err error) {
	defer fault.Wrap(&err, "people of %s", t)
	if e.people == nil || len(all) > maxPeople {
		return nil, fault.New(fault.InvalidRequest, "The worker's request cannot be answered.")
	}
	for _, u := range all {
		if _, err := tenants.ParseUserID(string(u)); err != nil {
			return nil, err
		}
	}
	if known, err = e.people(ctx, t, all); known == nil {
		known = []tenants.UserID{} // none is an answer
	}
	return known, err
}
