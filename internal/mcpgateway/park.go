package mcpgateway

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/approvals"
	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// A call of the newest revision whose upstream asks something is parked here: the
// request is answered with the question and a state, and the call goes on when a
// request comes with that state and the answers. It stays one call: one intent
// and one outcome on record, one claim, one place among those that run.
//
// The state names the edge, the call and the round, and says nothing else. It is
// good for one request of the same person, grant, server, tool and arguments, and
// only where it was made: what it is signed with is this process's own.

const (
	maxParked       = 1000 // of an edge
	maxParkedPerson = 12   // of one person
	maxRounds       = 64   // of one call
	statePrefix     = "parked"
	maxState        = 300
)

// parking are the parked calls of this edge.
type parking struct {
	edge string
	key  []byte
	wait time.Duration // for an answer

	mu     sync.Mutex
	closed bool
	calls  map[string]*parked
	people map[person]int
	all    sync.WaitGroup
}

type person struct {
	tenant tenants.ID
	user   tenants.UserID
}

func newParking(edge string) *parking {
	key := make([]byte, sha256.Size)
	rand.Read(key)
	return &parking{edge: edge, key: key, wait: questionWait, calls: map[string]*parked{}, people: map[person]int{}}
}

// parked is a call that runs apart from any one request.
type parked struct {
	c       *call
	of      *parking
	id      string
	binding []byte
	cancel  context.CancelCauseFunc
	asked   chan struct{} // there is a question that no request was answered with
	done    chan struct{} // res and err are set
	res     *runtime.Result
	err     error

	// guarded by parking.mu
	kept     bool // it is in the parking
	attached bool // a request waits for it
	round    int
	open     map[int]*openQuestion // by number
	numbers  int
	line     line
	expiry   *time.Timer
}

type openQuestion struct {
	question
	answer chan json.RawMessage // has room for one
}

// line is how progress and notifications reach the request that waits.
type line struct {
	progress func(done, total float64, message string)
	notify   func(runtime.Notification)
}

// round is what a request is answered with instead of a result.
type round struct {
	requests mcp.InputRequestMap
	state    string
}

// run takes a call through its steps. Of a client that may be asked in a further
// request, the call runs apart from this one, and there may be a round instead.
func (p *parking) run(ctx context.Context, g *Gateway, c *call, l line) (*runtime.Result, *round, error) {
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	k := &parked{
		c: c, of: p, id: rand.Text(), binding: p.binding(c.ex, c.op, c.called(), c.given), cancel: cancel,
		asked: make(chan struct{}, 1), done: make(chan struct{}), attached: true, open: map[int]*openQuestion{}, line: l,
	}
	c.put = k.put
	c.progress = k.progress
	if c.notify != nil {
		c.notify = k.notify
	}
	p.all.Go(func() {
		defer cancel(nil)
		defer close(k.done)
		defer func() {
			if r := recover(); r != nil {
				g.cfg.Log.ErrorContext(ctx, "panic in a handler", "method", c.op, "panic", r, "stack", string(debug.Stack()))
				k.res, k.err = nil, fmt.Errorf("panic: %v", r)
			}
		}()
		k.res, k.err = g.run(own, c)
	})
	return k.await(ctx)
}

// await follows the call for a request, until its end or a question. A request
// that is given up takes its call with it.
func (k *parked) await(ctx context.Context) (*runtime.Result, *round, error) {
	for {
		select {
		case <-k.done:
			k.of.leave(k)
			return k.res, nil, k.err
		case <-ctx.Done():
			k.cancel(context.Cause(ctx))
			<-k.done
			k.of.leave(k)
			return k.res, nil, k.err
		case <-k.asked:
		}
		if r, err := k.of.give(k); err != nil {
			k.cancel(err)
		} else if r != nil {
			return nil, r, nil
		}
	}
}

// put is how a question is asked: it waits for the request that answers it.
func (k *parked) put(ctx context.Context, q question) (json.RawMessage, error) {
	o := &openQuestion{q, make(chan json.RawMessage, 1)}
	number, err := k.of.open(k, o)
	if err != nil {
		return nil, err
	}
	defer k.of.close(k, number)
	select {
	case a := <-o.answer:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (k *parked) progress(done, total float64, message string) {
	if f := k.of.lineOf(k).progress; f != nil {
		f(done, total, message)
	}
}

func (k *parked) notify(n runtime.Notification) {
	if f := k.of.lineOf(k).notify; f != nil {
		f(n)
	}
}

func (p *parking) lineOf(k *parked) line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return k.line
}

// open adds a question to a call's. The first one needs a place for the call.
func (p *parking) open(k *parked, o *openQuestion) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !k.kept {
		who := person{k.c.ex.tenant.ID, k.c.ex.principal.User}
		switch {
		case p.closed:
			return 0, fault.New(fault.Busy, "The platform is being restarted. Call again in a few seconds.").After(5 * time.Second)
		case p.people[who] >= maxParkedPerson:
			return 0, fault.New(fault.Busy, "%d of your calls wait for answers to what their servers asked. Answer those first, or wait until they have ended.", maxParkedPerson).After(time.Minute)
		case len(p.calls) >= maxParked:
			return 0, fault.New(fault.Busy, "Too many calls wait for answers right now. Call again in a minute.").After(time.Minute)
		}
		k.kept = true
		p.calls[k.id] = k
		p.people[who]++
	}
	k.numbers++
	k.open[k.numbers] = o
	// What is asked at once is put at once. Some of it may be unfit, and never come.
	if len(k.open) >= min(o.among, maxAtOnce) {
		k.tell()
	} else {
		time.AfterFunc(gather, k.tell)
	}
	return k.numbers, nil
}

const (
	maxAtOnce = 4 // questions of a call that its worker puts at the same time
	gather    = 250 * time.Millisecond
)

// tell lets the request that waits look what is asked.
func (k *parked) tell() {
	select {
	case k.asked <- struct{}{}:
	default:
	}
}

func (p *parking) close(k *parked, number int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(k.open, number)
}

// give parks the call: the request is answered with what is asked.
func (p *parking) give(k *parked) (*round, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(k.open) == 0 { // it was answered, or taken back
		return nil, nil
	}
	if k.round++; k.round > maxRounds {
		return nil, errUnanswered
	}
	r := &round{requests: mcp.InputRequestMap{}, state: p.state(k)}
	for n, o := range k.open {
		r.requests[o.called(n)] = o.params
	}
	k.attached, k.line = false, line{}
	n := k.round
	k.expiry = time.AfterFunc(p.wait, func() { p.expire(k, n) })
	return r, nil
}

// called is the name of a question in a round: its upstream's, which is unique
// among those that are open at once, or a number.
func (o *openQuestion) called(number int) string {
	if o.name != "" {
		return o.name
	}
	return "question-" + strconv.Itoa(number)
}

// expire ends a call that nobody came back to, and forgets one that ended while
// nobody was there.
func (p *parking) expire(k *parked, round int) {
	p.mu.Lock()
	over := !k.attached && k.round == round
	p.mu.Unlock()
	if over {
		k.cancel(errUnanswered)
		<-k.done
		p.leave(k)
	}
}

// leave gives the call's place to others.
func (p *parking) leave(k *parked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !k.kept {
		return
	}
	k.kept, k.line = false, line{}
	delete(p.calls, k.id)
	who := person{k.c.ex.tenant.ID, k.c.ex.principal.User}
	if p.people[who]--; p.people[who] == 0 {
		delete(p.people, who)
	}
}

// resume finds the parked call of a state, gives it the answers and follows it
// for this request. What is wrong with an answer is said, and the state stays
// good.
func (p *parking) resume(k *parked, roundOf int, answers mcp.InputResponseMap, l line) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !k.kept || k.attached || k.round != roundOf {
		return errNotParked
	}
	given := map[int]json.RawMessage{}
	for n, o := range k.open {
		r, ok := answers[o.called(n)]
		if !ok {
			continue
		}
		raw, err := o.question.answer(r)
		if err == nil && len(raw) > runtime.MaxAnswer {
			err = badAnswer("", fmt.Sprintf("is longer than %d KB", runtime.MaxAnswer>>10))
		}
		if err != nil {
			return atQuestion(err, o.called(n))
		}
		given[n] = raw
	}
	for n, raw := range given {
		k.open[n].answer <- raw
		delete(k.open, n)
	}
	k.attached, k.line = true, l
	k.expiry.Stop()
	if len(k.open) > 0 { // it is asked again
		select {
		case k.asked <- struct{}{}:
		default:
		}
	}
	return nil
}

func atQuestion(err error, name string) error {
	f := fault.Of(err)
	out := *f
	out.Details = nil
	for _, d := range f.Details {
		d.Pointer = "/inputResponses/" + name + d.Pointer
		out.Details = append(out.Details, d)
	}
	return &out
}

// errNotParked is of a state that names nothing that waits here for this caller.
var errNotParked = errors.New("nothing waits here under this state")

// shut ends all that waits, as when the process stops, until ctx is done.
func (p *parking) shut(ctx context.Context) {
	p.mu.Lock()
	p.closed = true
	for _, k := range p.calls {
		k.cancel(errShut)
	}
	p.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		p.all.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

var errShut = errors.New("the edge stops")

// state is what a client sends back: prefix.edge.call.round.signature.
func (p *parking) state(k *parked) string {
	plain := strings.Join([]string{statePrefix, p.edge, k.id, strconv.Itoa(k.round)}, ".")
	return plain + "." + base64.RawURLEncoding.EncodeToString(p.sign(plain, k.binding))
}

func (p *parking) sign(plain string, binding []byte) []byte {
	mac := hmac.New(sha256.New, p.key)
	mac.Write(binding) // of one length
	mac.Write([]byte(plain))
	return mac.Sum(nil)
}

// binding is the hash of who may go on with a call, and what it is.
func (p *parking) binding(ex *exchange, op runtime.Op, name string, given json.RawMessage) []byte {
	arguments := approvals.RequestHash(given)
	h := sha256.New()
	for _, part := range []string{string(ex.tenant.ID), string(ex.principal.User), ex.principal.Grant, string(ex.hosted.Server.ID), string(op), name, string(arguments[:])} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return h.Sum(nil)
}

// isParkedState tells a state of this kind from a confirmation.
func isParkedState(state string) bool { return strings.HasPrefix(state, statePrefix+".") }

// edgeOfState is the edge that a state names. It is not to be believed: that edge
// looks at the signature.
func edgeOfState(state string) string {
	parts := strings.Split(state, ".")
	if len(state) > maxState || len(parts) != 5 || parts[0] != statePrefix {
		return ""
	}
	return parts[1]
}

// find is the call of a state that was made here for the same caller and request.
func (p *parking) find(state string, binding []byte) (k *parked, round int, err error) {
	parts := strings.Split(state, ".")
	if edgeOfState(state) != p.edge {
		return nil, 0, errNotParked
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[4])
	if err != nil || !hmac.Equal(signature, p.sign(strings.Join(parts[:4], "."), binding)) {
		return nil, 0, errNotParked
	}
	if round, err = strconv.Atoi(parts[3]); err != nil {
		return nil, 0, errNotParked
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if k = p.calls[parts[2]]; k == nil {
		return nil, 0, errNotParked
	}
	return k, round, nil
}
