package natsrt

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// The worker's half of what reaches the caller while a call runs. Progress and
// notifications are frames that may be dropped. A question is a frame with a
// number, and its answer comes over the control subject.

// answer is what came of a question.
type answer struct {
	body json.RawMessage
	err  error
}

func (s *Served) back(lc *liveCall, req *request) runtime.Back {
	b := runtime.Back{Progress: func(done, total float64, message string) {
		if finite(done) && finite(total) {
			s.publish(lc.to, encodeProgress(lc.to.token, s.instance, done, total, message))
		}
	}}
	if req.has(flagNotify) {
		b.Notify = func(n runtime.Notification) {
			if body, ok := encodeMessage(n.Method, n.Params, maxNotify); ok {
				s.publish(lc.to, encodeNotify(lc.to.token, s.instance, body))
			}
		}
	}
	if req.has(flagAsk) {
		b.Ask = func(ctx context.Context, q runtime.Question) (json.RawMessage, error) { return s.ask(ctx, lc, q) }
	}
	return b
}

// ask sends a question to the edge and waits for its answer. When ctx is done
// first, the edge is told that nobody waits.
func (s *Served) ask(ctx context.Context, lc *liveCall, q runtime.Question) (json.RawMessage, error) {
	body, ok := encodeMessage(q.Method, q.Params, maxAsk)
	if !ok {
		return nil, fault.New(fault.Unanswerable, "The server asked something that cannot be passed on: it is too long, or is no JSON.")
	}
	came := make(chan answer, 1)
	number, first, err := s.opened(lc, came)
	if err != nil {
		return nil, err
	}
	defer s.closed(lc, number)
	if first { // the call only waits: its place among the calls in hand is another's
		s.handling.Add(-1)
		defer s.handling.Add(1)
	}
	frame := binary.BigEndian.AppendUint32(head(kindAsk, lc.to.token, s.instance, 4+len(body)), number)
	s.publish(lc.to, append(frame, body...))
	select {
	case a := <-came:
		return a.body, a.err
	case <-ctx.Done():
		s.publish(lc.to, encodeUnask(lc.to.token, s.instance, number))
		return nil, fault.New(fault.Cancelled, "The question was given up before it was answered.").Because(ctx.Err())
	}
}

func (s *Served) opened(lc *liveCall, came chan<- answer) (number uint32, first bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.live[lc.to.token] != lc:
		return 0, false, errors.New("question asked after the call's end")
	case len(lc.waiting) >= runtime.MaxAsking:
		return 0, false, tooManyQuestions()
	case lc.waiting == nil:
		lc.waiting = map[uint32]chan<- answer{}
	}
	lc.asked++
	lc.waiting[lc.asked] = came
	return lc.asked, len(lc.waiting) == 1, nil
}

func (s *Served) closed(lc *liveCall, number uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(lc.waiting, number)
}

// answered hands an answer to who waits for it. A second one to the same
// question, or one to a question that was not asked, goes nowhere.
func (s *Served) answered(lc *liveCall, c control) {
	s.mu.Lock()
	came := lc.waiting[c.number]
	delete(lc.waiting, c.number)
	s.mu.Unlock()
	if came == nil {
		return
	}
	a := answer{body: c.answer}
	if c.refusal != nil {
		a.err = c.refusal
	}
	came <- a // it has room for one
}

func tooManyQuestions() *fault.Error {
	return fault.New(fault.Unanswerable, "The server asks more than %d questions at once.", runtime.MaxAsking)
}
