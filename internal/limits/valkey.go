package limits

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"
)

//go:embed spend.lua
var spendScript string

// scriptName is what EVALSHA knows the script by.
var scriptName = func() string { sum := sha1.Sum([]byte(spendScript)); return hex.EncodeToString(sum[:]) }()

const (
	// askWithin is how long Valkey may take: a call does not wait for longer.
	askWithin = 500 * time.Millisecond
	// placeHeld is how long the place of a call stays taken after its edge last
	// said that it runs. What a dead edge held is free after it.
	placeHeld = 20 * time.Second
	// edgeHeld is how long an edge counts as one after it was last heard.
	edgeHeld = 10 * time.Second
	// releaseWithin bounds how long a place that was given back is kept to go
	// along with the next call.
	releaseWithin = 3 * time.Millisecond
	keyPrefix     = "latchkey:"
	edgesKey      = keyPrefix + "edges"
)

// remote counts in Valkey. A call takes one round trip: the places that others
// gave back meanwhile go along with it.
type remote struct {
	client valkey.Client
	edge   string
	shift  func() time.Duration // of the clock, in tests

	mu      sync.Mutex
	held    map[*Request]struct{}
	freed   []*Request
	flush   chan struct{}
	closing chan struct{}
	wg      sync.WaitGroup
}

func newRemote(client valkey.Client, edge string, shift func() time.Duration) *remote {
	r := &remote{client: client, edge: edge, shift: shift, held: map[*Request]struct{}{}, flush: make(chan struct{}, 1), closing: make(chan struct{})}
	r.wg.Go(r.flushing)
	return r
}

// ask bounds a question. Who called may be gone: what was counted is counted.
func ask(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), askWithin)
}

func (s *remote) spend(ctx context.Context, r *Request) (v Verdict, err error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	keys, args := s.words(r)
	commands := s.releases(s.takeFreed())
	commands = append(commands, s.client.B().Evalsha().Sha1(scriptName).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build())
	results := s.client.DoMulti(ctx, commands...)
	last := results[len(results)-1]
	if ve, is := valkey.IsValkeyErr(last.Error()); is && ve.IsNoScript() { // it was started anew
		last = s.client.Do(ctx, s.client.B().Eval().Script(spendScript).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build())
	}
	if v, err = verdictOf(last); err != nil {
		lost := *r    // which is counted elsewhere next, by a share of its bounds
		s.free(&lost) // it may have been counted here all the same
		return v, err
	}
	if v.Refused == Not && r.slots() {
		s.mu.Lock()
		s.held[r] = struct{}{}
		s.mu.Unlock()
	}
	return v, nil
}

func verdictOf(res valkey.ValkeyResult) (v Verdict, err error) {
	parts, err := res.ToArray()
	if err != nil {
		return v, err
	}
	if len(parts) != 6 {
		return v, fmt.Errorf("limits: valkey answered %d values, want 6", len(parts))
	}
	var n [6]int64
	for i := range parts {
		if i == 2 {
			n[i], err = parts[i].AsInt64()
		} else {
			n[i], err = parts[i].ToInt64()
		}
		if err != nil {
			return v, err
		}
	}
	return Verdict{Refused: Refused(n[0]), Bound: int(n[1]), Wait: time.Duration(n[2]) * time.Microsecond, Calls: int(n[3]), Repeats: int(n[4]), First: n[5] == 1}, nil
}

// words are the keys and arguments of the script. All keys of a tenant are in
// one slot of a cluster.
func (s *remote) words(r *Request) (keys, args []string) {
	prefix := keyPrefix + "{" + string(r.Tenant) + "}:"
	refuse, minute := "-1", "0"
	if r.Same.Kind != 0 {
		refuse = strconv.Itoa(r.RefuseSame)
	}
	if r.Minute.Kind != 0 {
		minute = "1"
	}
	keys = make([]string, 0, 2*r.n+2)
	args = append(make([]string, 0, 5+3*r.n), s.edge+" "+r.CallID, micros(placeHeld), micros(s.shift()), minute, refuse)
	for i := range r.bounds[:r.n] {
		b := &r.bounds[i]
		key := prefix + b.Key.text()
		keys = append(keys, key, key+":places")
		args = append(args, strconv.FormatFloat(float64(b.Interval)/float64(time.Microsecond), 'f', 3, 64), strconv.Itoa(b.Burst), strconv.Itoa(b.Slots))
	}
	return append(keys, prefix+r.Minute.text(), prefix+r.Same.text()), args
}

func micros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }

// text is the key within its tenant. Ids hold no space; what may hold one is
// last.
func (k Key) text() string {
	switch k.Kind {
	case 0:
		return "-"
	case sameOf:
		return string(k.Kind) + " " + k.Who + " " + hex.EncodeToString([]byte(k.What))
	}
	return string(k.Kind) + " " + k.Who + " " + k.Server + " " + k.What
}

// release queues what was held; see flushing.
func (s *remote) release(r *Request) {
	s.mu.Lock()
	delete(s.held, r)
	s.mu.Unlock()
	s.free(r)
}

func (s *remote) free(r *Request) {
	if !r.slots() {
		return
	}
	s.mu.Lock()
	if len(s.freed) < maxFreed {
		s.freed = append(s.freed, r)
	} // else they run out by themselves
	s.mu.Unlock()
	select {
	case s.flush <- struct{}{}:
	default:
	}
}

// maxFreed bounds what is kept while Valkey is away.
const maxFreed = 10_000

func (s *remote) takeFreed() (out []*Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.freed), 32)
	out, s.freed = s.freed[:n:n], s.freed[n:]
	return out
}

func (s *remote) releases(freed []*Request) (commands valkey.Commands) {
	for _, r := range freed {
		prefix := keyPrefix + "{" + string(r.Tenant) + "}:"
		for i := range r.bounds[:r.n] {
			if b := &r.bounds[i]; b.Slots > 0 {
				commands = append(commands, s.client.B().Zrem().Key(prefix+b.Key.text()+":places").Member(s.edge+" "+r.CallID).Build())
			}
		}
	}
	return commands
}

// flushing gives places back that no call takes along.
func (s *remote) flushing() {
	timer := time.NewTimer(releaseWithin)
	defer timer.Stop()
	for {
		select {
		case <-s.flush:
		case <-s.closing:
			return
		}
		timer.Reset(releaseWithin)
		select {
		case <-timer.C:
		case <-s.closing:
		}
		s.flushFreed()
	}
}

func (s *remote) flushFreed() {
	for {
		commands := s.releases(s.takeFreed())
		if len(commands) == 0 {
			return
		}
		ctx, cancel := ask(context.Background())
		s.client.DoMulti(ctx, commands...) // what fails runs out by itself
		cancel()
	}
}

// beat says that this edge is there and that its calls still run, and returns
// how many edges there are.
func (s *remote) beat(ctx context.Context) (edges int, err error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	now, err := s.now(ctx)
	if err != nil {
		return 0, err
	}
	b := s.client.B
	commands := valkey.Commands{
		b().Zadd().Key(edgesKey).ScoreMember().ScoreMember(float64(now.Add(edgeHeld).UnixMilli()), s.edge).Build(),
		b().Zremrangebyscore().Key(edgesKey).Min("-inf").Max(strconv.FormatInt(now.UnixMilli(), 10)).Build(),
		b().Pexpire().Key(edgesKey).Milliseconds((10 * edgeHeld).Milliseconds()).Build(),
		b().Zcard().Key(edgesKey).Build(),
	}
	until := float64(now.Add(placeHeld + s.shift()).UnixMicro())
	s.mu.Lock()
	for r := range s.held {
		prefix := keyPrefix + "{" + string(r.Tenant) + "}:"
		for i := range r.bounds[:r.n] {
			if k := &r.bounds[i]; k.Slots > 0 {
				commands = append(commands, b().Zadd().Key(prefix+k.Key.text()+":places").Xx().Gt().ScoreMember().ScoreMember(until, s.edge+" "+r.CallID).Build())
			}
		}
	}
	s.mu.Unlock()
	results := s.client.DoMulti(ctx, commands...)
	for _, r := range results {
		if err := r.Error(); err != nil {
			return 0, err
		}
	}
	n, err := results[3].ToInt64()
	return int(n), err
}

func (s *remote) now(ctx context.Context) (time.Time, error) {
	parts, err := s.client.Do(ctx, s.client.B().Time().Build()).AsIntSlice()
	if err != nil {
		return time.Time{}, err
	}
	if len(parts) != 2 {
		return time.Time{}, fmt.Errorf("limits: valkey's time has %d parts", len(parts))
	}
	return time.Unix(parts[0], parts[1]*1000), nil
}

// close says good-bye where it is heard.
func (s *remote) close() {
	close(s.closing)
	s.wg.Wait()
	s.flushFreed()
	ctx, cancel := ask(context.Background())
	defer cancel()
	s.client.Do(ctx, s.client.B().Zrem().Key(edgesKey).Member(s.edge).Build())
	s.client.Close()
}
