package natsrt

import (
	"context"
	"encoding/json"
	"sync"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// The edge's half of what reaches the caller while a call runs.

// What waits aside for a caller's goroutine that is slow. Progress is dropped
// when there is some already, for the next says more. Notifications are dropped
// when there are very many; those that come, come in order.
const (
	progressRoom = 8
	notifyRoom   = 256
	notifyBytes  = 1 << 20
)

// aside is progress and notifications of an attempt on their way. It is guarded
// by Edge.mu.
type aside struct {
	frames   []frame
	progress int // of them
	bytes    int
}

// put reports whether the attempt has to be told that there is something.
func (s *aside) put(f frame) bool {
	full := len(s.frames)-s.progress >= notifyRoom
	if f.kind == kindProgress {
		full = s.progress >= progressRoom
	}
	if full || s.bytes+len(f.data) > notifyBytes {
		return false
	}
	if f.kind == kindProgress {
		s.progress++
	}
	s.frames = append(s.frames, f)
	s.bytes += len(f.data)
	return len(s.frames) == 1
}

func (s *aside) take() []frame {
	all := s.frames
	*s = aside{}
	return all
}

// hear gives what waits aside to the caller.
func (e *Edge) hear(a *attempt, o *DoOptions) {
	e.mu.Lock()
	all := a.aside.take()
	e.mu.Unlock()
	for _, f := range all {
		switch {
		case f.kind == kindProgress && o.Progress != nil:
			o.Progress(f.done, f.total, string(f.data))
		case f.kind == kindNotify && o.Notify != nil:
			if m, err := decodeMessage(f.data); err == nil {
				o.Notify(runtime.Notification(m))
			}
		}
	}
}

// questions are those of one attempt that wait for the caller's answers.
type questions struct {
	edge  *Edge
	token string
	ask   func(ctx context.Context, q runtime.Question) (json.RawMessage, error)
	base  context.Context
	end   context.CancelFunc
	all   sync.WaitGroup

	mu   sync.Mutex
	open map[uint32]context.CancelFunc
}

// begin puts a question to the caller, in a goroutine of its own.
func (q *questions) begin(f frame) {
	refuse := func(err error) { q.answer(f, nil, err) }
	m, err := decodeMessage(f.data)
	switch {
	case err != nil:
		refuse(fault.New(fault.Unanswerable, "The server's question could not be read."))
		return
	case q.ask == nil:
		refuse(fault.New(fault.Unanswerable, "The client of this call cannot be asked anything."))
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.open) >= runtime.MaxAsking || q.open[f.number] != nil {
		refuse(tooManyQuestions())
		return
	}
	asking, cancel := context.WithCancel(q.base)
	if q.open == nil {
		q.open = map[uint32]context.CancelFunc{}
	}
	q.open[f.number] = cancel
	q.all.Go(func() {
		defer cancel()
		body, err := q.ask(asking, runtime.Question(m))
		q.mu.Lock()
		delete(q.open, f.number)
		q.mu.Unlock()
		if q.base.Err() == nil {
			q.answer(f, body, err)
		}
	})
}

func (q *questions) answer(f frame, body json.RawMessage, err error) {
	if err := q.edge.conn.Publish(controlPrefix+f.instance, encodeAnswer(q.token, f.number, body, err)); err != nil {
		q.edge.log.Warn("answer to a question not sent", "err", err)
	}
}

// withdraw ends a question that the worker does not wait for any more.
func (q *questions) withdraw(number uint32) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if cancel := q.open[number]; cancel != nil {
		cancel()
	}
}

// stop ends all of them and waits until nobody is asked any more: the attempt is
// over.
func (q *questions) stop() {
	if q != nil {
		q.end()
		q.all.Wait()
	}
}
