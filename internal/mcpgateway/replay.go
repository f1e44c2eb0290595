package mcpgateway

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// A client of a legacy session that lost a stream gets what it missed with
// Last-Event-ID. What was sent is kept for that, in memory: the session lives on
// this edge anyway.
//
// The SDK's own store is not used: it is bounded in total only and drops of
// every session when one is loud, never forgets a finished stream of a session
// that goes on, and has no time. A GET without Last-Event-ID is answered with an
// error once anything of its stream was dropped.

const (
	replayLife    = 5 * time.Minute // how long an event is kept
	replaySession = 1 << 20         // bytes kept of one session
	replayTotal   = 64 << 20        // bytes kept of all
	replayStreams = 64              // streams remembered of one session
	eventCost     = 64              // bytes that an event takes beside its data
)

// replay is an mcp.EventStore. opened and closed hear of sessions: the SDK says
// nothing else of when they begin and end.
type replay struct {
	opened func(ctx context.Context, session string) error
	closed func(session string)
	now    func() time.Time

	mu       sync.Mutex
	bytes    int
	count    int // of events that are kept
	sessions map[string]*replaySessionState
	oldest   []*replayEvent // of all sessions, in the order in which they came
}

// replaySessionState is what is kept of one session.
type replaySessionState struct {
	bytes   int
	streams map[string]*replayStream
	order   []*replayStream // by when they were opened
	events  []*replayEvent  // in the order in which they came
}

// replayStream is one stream. Its events have the indexes first, first+1, ….
type replayStream struct {
	id     string
	first  int
	events []*replayEvent
	// broken: how many events it had is not known any more.
	broken bool
}

type replayEvent struct {
	session *replaySessionState
	stream  *replayStream
	data    []byte
	at      time.Time
	dropped bool
}

func newReplay() *replay {
	return &replay{
		opened: func(context.Context, string) error { return nil }, closed: func(string) {},
		now: time.Now, sessions: map[string]*replaySessionState{},
	}
}

// Open is called with the stream "" when a session begins, and for each of its
// requests.
func (r *replay) Open(ctx context.Context, session, stream string) error {
	if stream == "" {
		if err := r.opened(ctx, session); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sessions[session]
	if s == nil {
		if stream != "" {
			return nil // it has ended
		}
		s = &replaySessionState{streams: map[string]*replayStream{}}
		r.sessions[session] = s
	}
	s.open(stream, false)
	return nil
}

// open adds a stream. The one that is opened longest ago goes, but not the
// session's own.
func (s *replaySessionState) open(id string, broken bool) *replayStream {
	if st := s.streams[id]; st != nil {
		return st
	}
	st := &replayStream{id: id, broken: broken}
	s.streams[id] = st
	if id == "" {
		return st
	}
	if len(s.order) >= replayStreams {
		gone := s.order[0]
		s.order = s.order[1:]
		delete(s.streams, gone.id) // its events go with their time
	}
	s.order = append(s.order, st)
	return st
}

// Append keeps an event.
func (r *replay) Append(_ context.Context, session, stream string, data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sessions[session]
	if s == nil {
		return fmt.Errorf("session %q has ended", session)
	}
	st := s.open(stream, true)
	e := &replayEvent{session: s, stream: st, data: data, at: r.now()}
	st.events = append(st.events, e)
	s.events = append(s.events, e)
	r.oldest = append(r.oldest, e)
	s.bytes += e.cost()
	r.bytes += e.cost()
	r.count++
	for s.bytes > replaySession && len(s.events) > 0 {
		r.drop(s.events[0])
	}
	r.trim()
	return nil
}

func (e *replayEvent) cost() int { return len(e.data) + eventCost }

// trim drops what is too old, and the oldest of all where there is too much.
func (r *replay) trim() {
	if len(r.oldest) > 2*r.count+1024 { // most of it is dropped, behind one that is not
		r.oldest = slices.DeleteFunc(r.oldest, func(e *replayEvent) bool { return e.dropped })
	}
	old := r.now().Add(-replayLife)
	for len(r.oldest) > 0 {
		e := r.oldest[0]
		if !e.dropped {
			if r.bytes <= replayTotal && e.at.After(old) {
				return
			}
			r.drop(e)
		}
		r.oldest[0] = nil
		r.oldest = r.oldest[1:]
	}
}

// drop forgets an event, which is the first one of its session and stream. What
// is left of it in oldest goes when it is that one's turn.
func (r *replay) drop(e *replayEvent) {
	s, st := e.session, e.stream
	s.bytes -= e.cost()
	r.bytes -= e.cost()
	r.count--
	s.events[0] = nil
	s.events = s.events[1:]
	st.events[0] = nil
	st.events = st.events[1:]
	st.first++
	e.dropped, e.data = true, nil
}

// After gives what came after an event of a stream, or mcp.ErrEventsPurged.
// With index -1 somebody opens the session's own stream anew and has no event
// of it: what is kept is counted from 0 again, as the SDK does.
func (r *replay) After(_ context.Context, session, stream string, index int) iter.Seq2[[]byte, error] {
	data, err := r.after(session, stream, index)
	return func(yield func([]byte, error) bool) {
		if err != nil {
			yield(nil, err)
			return
		}
		for _, d := range data {
			if !yield(d, nil) {
				return
			}
		}
	}
}

func (r *replay) after(session, stream string, index int) ([][]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trim()
	s := r.sessions[session]
	if s == nil {
		return nil, fmt.Errorf("session %q has ended", session)
	}
	st := s.streams[stream]
	if st != nil && stream == "" && index < 0 {
		st.first = 0
	}
	if st == nil || st.broken || index+1 < st.first {
		return nil, fmt.Errorf("stream %q of session %q after %d: %w", stream, session, index, mcp.ErrEventsPurged)
	}
	var data [][]byte
	for _, e := range st.events[min(index+1-st.first, len(st.events)):] {
		data = append(data, e.data)
	}
	return data, nil
}

// SessionClosed forgets a session.
func (r *replay) SessionClosed(_ context.Context, session string) error {
	r.mu.Lock()
	if s := r.sessions[session]; s != nil {
		for len(s.events) > 0 {
			r.drop(s.events[0])
		}
		delete(r.sessions, session)
		r.trim()
	}
	r.mu.Unlock()
	r.closed(session)
	return nil
}
