package natsrt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

type openingRequest struct {
	Tenant   tenants.ID          `json:"tenant"`
	Server   registry.ServerID   `json:"server"`
	Revision registry.RevisionID `json:"revision"`
}

type openingReply struct {
	Opening *runtime.Opening `json:"opening,omitempty"`
	Fault   json.RawMessage  `json:"fault,omitempty"`
}

// NewOpenings asks any edge for openings. What comes back is not believed:
// runtime compares it with the hash in the call.
func NewOpenings(conn *nats.Conn) runtime.Openings { return edgeOpenings{conn} }

type edgeOpenings struct{ conn *nats.Conn }

func (o edgeOpenings) Opening(ctx context.Context, t tenants.ID, s registry.ServerID, r registry.RevisionID) (runtime.Opening, error) {
	req, err := json.Marshal(openingRequest{t, s, r})
	if err != nil {
		return runtime.Opening{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := o.conn.RequestWithContext(ctx, openingGet, req)
	if err != nil {
		return runtime.Opening{}, fault.New(fault.StoreAway, "The platform could not say how to open this server. Nothing was done; try again in a few seconds.").After(2 * time.Second).Because(err)
	}
	var reply openingReply
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return runtime.Opening{}, fmt.Errorf("opening: %w", err)
	}
	if reply.Fault != nil {
		f, err := decodeFault(reply.Fault)
		if err != nil {
			return runtime.Opening{}, fmt.Errorf("opening: %w", err)
		}
		return runtime.Opening{}, f
	}
	if reply.Opening == nil {
		return runtime.Opening{}, errors.New("opening: empty answer")
	}
	return *reply.Opening, nil
}

// OpeningFunc finds an opening in the edge's registry.
type OpeningFunc func(ctx context.Context, t tenants.ID, s registry.ServerID, r registry.RevisionID) (runtime.Opening, error)

// onOpening answers a worker's request.
func (e *Edge) onOpening(m *nats.Msg) {
	ctx, cancel := context.WithTimeout(e.base, 5*time.Second)
	defer cancel()
	opening, err := e.lookUp(ctx, m.Data)
	reply := openingReply{Opening: &opening}
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

func (e *Edge) lookUp(ctx context.Context, data []byte) (o runtime.Opening, err error) {
	var req openingRequest
	if err := json.Unmarshal(data, &req); err != nil {
		return o, fault.New(fault.InvalidRequest, "The worker's request could not be read.").Because(err)
	}
	defer fault.Wrap(&err, "opening of server %s revision %s of %s", req.Server, req.Revision, req.Tenant)
	t, err := tenants.ParseID(string(req.Tenant))
	if err != nil {
		return o, err
	}
	s, err := tenants.ParseServerID(string(req.Server))
	if err != nil {
		return o, err
	}
	return e.opening(ctx, t, s, req.Revision)
}
