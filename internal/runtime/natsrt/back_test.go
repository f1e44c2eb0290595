package natsrt_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/natsrt"
)

type asker = func(ctx context.Context, q runtime.Question) (json.RawMessage, error)

func TestNotificationsArriveInOrder(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	var got []string
	o := natsrt.DoOptions{
		Notify:   func(n runtime.Notification) { got = append(got, n.Method+string(n.Params)) },
		Progress: func(float64, float64, string) { got = append(got, "half") },
	}
	if _, err := r.do(call("logs", `{}`, 10*time.Second), o); err != nil {
		t.Fatal(err)
	}
	if len(got) != 101 || got[50] != "half" || got[0] != `notifications/message{"level":"info","data":0}` || got[100] != `notifications/message{"level":"info","data":99}` {
		t.Errorf("%d came: %v", len(got), got)
	}
}

// A caller that does not keep up loses notifications, and nothing else.
func TestSlowCallerLosesLogsAndNotItsResult(t *testing.T) {
	r := newRig(t)
	_, said := r.local("w1", 4)
	held := make(chan struct{})
	var got []int
	c := call("logs", "2000", 20*time.Second)
	ended := r.goDo(c, natsrt.DoOptions{Notify: func(n runtime.Notification) {
		var m struct{ Data int }
		if err := json.Unmarshal(n.Params, &m); err != nil {
			t.Error(err)
		}
		if got = append(got, m.Data); len(got) == 1 {
			<-held
		}
	}}, &process{said: said})
	await(t, said, "sent "+c.ID)
	close(held)
	if e := <-ended; e.err != nil || len(got) < 2 || len(got) == 2000 || !slices.IsSorted(got) {
		t.Errorf("%d came, in order: %v; %v", len(got), slices.IsSorted(got), e.err)
	}
}

func TestWithoutSomebodyToTellNothingIsSent(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	if _, err := r.do(call("logs", `{}`, 10*time.Second), natsrt.DoOptions{}); err != nil {
		t.Error(err)
	}
	_, err := r.do(call("ask", `{}`, 10*time.Second), natsrt.DoOptions{})
	wantCode(t, err, fault.Unanswerable)
}

func TestQuestionReachesTheCallerAndItsAnswerTheUpstream(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	for _, retryable := range []bool{true, false} {
		out, err := r.do(call("ask", `{"message":"who?"}`, 10*time.Second), natsrt.DoOptions{Retryable: retryable, Ask: func(_ context.Context, q runtime.Question) (json.RawMessage, error) {
			if q.Method != "elicitation/create" || string(q.Params) != `{"message":"who?"}` {
				t.Errorf("asked %+v", q)
			}
			return json.RawMessage(`{"action":"accept"}`), nil
		}})
		if err != nil || textOf(t, out) != `{"action":"accept"}` {
			t.Errorf("%+v, %v", out, err)
		}
	}
}

func TestLargeQuestionsAndAnswers(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	long := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	echo := func(_ context.Context, q runtime.Question) (json.RawMessage, error) { return q.Params, nil }
	out, err := r.do(call("ask", long(runtime.MaxQuestion), 20*time.Second), natsrt.DoOptions{Ask: echo})
	if err != nil || len(textOf(t, out)) != runtime.MaxAnswer {
		t.Errorf("the largest: %v", err)
	}
	asked := false
	_, err = r.do(call("ask", long(runtime.MaxQuestion+1), 20*time.Second), natsrt.DoOptions{Ask: func(context.Context, runtime.Question) (json.RawMessage, error) {
		asked = true
		return nil, nil
	}})
	if wantCode(t, err, fault.Unanswerable); asked {
		t.Error("a question that is too large was asked")
	}
	_, err = r.do(call("ask", `{}`, 20*time.Second), natsrt.DoOptions{Ask: func(context.Context, runtime.Question) (json.RawMessage, error) {
		return json.RawMessage(long(runtime.MaxAnswer + 1)), nil
	}})
	wantCode(t, err, fault.Unanswerable)
}

func TestRefusalOfAQuestionCarriesNoCause(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	_, err := r.do(call("ask", `{}`, 10*time.Second), natsrt.DoOptions{Ask: func(context.Context, runtime.Question) (json.RawMessage, error) {
		return nil, fault.New(fault.Unanswerable, "It cannot.").Because(errors.New("canary"))
	}})
	if f := wantCode(t, err, fault.Unanswerable); f.Message != "It cannot." || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
}

func TestNoMoreQuestionsAtOnceThanThereMayBe(t *testing.T) {
	r := newRig(t)
	_, said := r.local("w1", 4)
	var at, most atomic.Int32
	all, asked := make(chan struct{}), make(chan struct{}, 9)
	go func() { // none is answered before all were asked or refused
		defer close(all)
		for n := 0; n < 9; {
			select {
			case <-asked:
				n++
			case s := <-said:
				if strings.HasPrefix(s, "refused ") {
					n++
				}
			case <-time.After(15 * time.Second):
				return
			}
		}
	}()
	out, err := r.do(call("ask-many", "9", 20*time.Second), natsrt.DoOptions{Ask: func(ctx context.Context, q runtime.Question) (json.RawMessage, error) {
		defer at.Add(-1)
		for n := at.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		asked <- struct{}{}
		<-all
		return q.Params, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Fields(textOf(t, out))
	refused := 0
	for i, a := range answers {
		if a == "refused" {
			refused++
		} else if a != fmt.Sprint(i) {
			t.Errorf("question %d was answered with %s", i, a)
		}
	}
	if len(answers) != 9 || refused != 9-runtime.MaxAsking || most.Load() != runtime.MaxAsking {
		t.Errorf("answers %v, %d at once", answers, most.Load())
	}
}

// The call's own time is half a second; the answer takes longer, and then there
// is still time to do something with it.
func TestTheTimeOfAQuestionIsNotTheCalls(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	const own = 2 * time.Second
	c := call("ask", `{}`, own)
	out, err := r.do(c, natsrt.DoOptions{Ask: func(ctx context.Context, _ runtime.Question) (json.RawMessage, error) {
		select {
		case <-time.After(time.Until(c.Deadline) + own/2):
			return json.RawMessage(`"late"`), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}})
	if err != nil || textOf(t, out) != `"late"` {
		t.Errorf("%+v, %v", out, err)
	}
}

// A person who thinks must not keep others from working.
func TestCallThatWaitsForAnAnswerTakesNoSlot(t *testing.T) {
	r := newRig(t)
	r.local("w1", 1)
	asked, answer := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		_, err := r.do(call("ask", `{}`, 20*time.Second), natsrt.DoOptions{Ask: func(context.Context, runtime.Question) (json.RawMessage, error) {
			close(asked)
			<-answer
			return json.RawMessage(`1`), nil
		}})
		ended <- err
	}()
	<-asked
	for range 3 {
		if _, err := r.do(call("echo", `{}`, 20*time.Second), natsrt.DoOptions{}); err != nil {
			t.Errorf("the only slot is taken by who waits: %v", err)
		}
	}
	close(answer)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := r.do(call("echo", `{}`, 20*time.Second), natsrt.DoOptions{}); err != nil {
		t.Errorf("the slot was not given back: %v", err)
	}
}

func TestQuestionEndsWithItsCall(t *testing.T) {
	r := newRig(t)
	_, said := r.local("w1", 4)
	ctx, cancel := context.WithCancel(context.Background())
	c := call("ask", `{}`, 30*time.Second)
	var asking atomic.Int32
	_, err := r.edge.Do(ctx, c, natsrt.DoOptions{Pool: "default", Ask: func(ctx context.Context, _ runtime.Question) (json.RawMessage, error) {
		asking.Add(1)
		defer asking.Add(-1)
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	wantCode(t, err, fault.Cancelled)
	if asking.Load() != 0 {
		t.Error("somebody is asked although the call is over")
	}
	await(t, said, "unanswered "+c.ID)
}

func TestQuestionEndsWithItsWorker(t *testing.T) {
	for name, sys := range map[string]bool{"ByEvent": true, "ByHeartbeat": false} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, sys)
			w := r.process("w1")
			asked, ended := make(chan struct{}), make(chan struct{})
			got := r.goDo(call("ask", `{}`, 30*time.Second), natsrt.DoOptions{Ask: func(ctx context.Context, _ runtime.Question) (json.RawMessage, error) {
				close(asked)
				<-ctx.Done()
				close(ended)
				return nil, ctx.Err()
			}}, w)
			<-asked
			w.signal(t, syscall.SIGKILL)
			e := <-got
			wantCode(t, e.err, fault.OutcomeUnknown)
			<-ended
		})
	}
}

// A call that changes nothing goes on elsewhere, and its caller is asked again.
func TestLostWorkersQuestionIsAskedAgainElsewhere(t *testing.T) {
	r := newRig(t)
	w1 := r.process("w1")
	var n atomic.Int32
	asked := make(chan struct{})
	got := r.goDo(call("ask", `{}`, 30*time.Second), natsrt.DoOptions{Retryable: true, Ask: func(ctx context.Context, _ runtime.Question) (json.RawMessage, error) {
		if n.Add(1) == 1 {
			close(asked)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return json.RawMessage(`"second"`), nil
	}}, w1)
	<-asked
	r.process("w2")
	w1.signal(t, syscall.SIGKILL)
	e := <-got
	if e.err != nil || e.Worker != "w2" || textOf(t, e.Outcome) != `"second"` || n.Load() != 2 {
		t.Errorf("%+v, %v, asked %d times", e.Outcome, e.err, n.Load())
	}
}

// where runs a call with a home and tells which worker had it.
func (r *rig) where(home string) string {
	r.Helper()
	out, err := r.do(call("echo", `{}`, 20*time.Second), natsrt.DoOptions{Home: home})
	if err != nil {
		r.Fatal(err)
	}
	return out.Worker
}

func TestHomeKeepsCallsOnOneWorker(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"w1", "w2", "w3"} {
		r.local(name, 64)
	}
	second := must(natsrt.NewEdge(natsrt.EdgeConfig{Conn: must(r.server.EdgeConn("edge-2"))(t)}))(t)
	defer second.Close()
	r.until("not all workers are known", func() bool { return len(r.edge.Workers()) == 3 && len(second.Workers()) == 3 })
	used := map[string]int{}
	for i := range 60 {
		home := fmt.Sprintf("server-%d", i)
		first := r.where(home)
		used[first]++
		for range 3 {
			if again := r.where(home); again != first {
				t.Errorf("%s ran at %s and then at %s", home, first, again)
			}
		}
		out, err := second.Do(t.Context(), call("echo", `{}`, 20*time.Second), natsrt.DoOptions{Pool: "default", Home: home})
		if err != nil || out.Worker != first {
			t.Errorf("%s runs at %s, by another edge at %s, %v", home, first, out.Worker, err)
		}
	}
	if len(used) != 3 || slices.Min([]int{used["w1"], used["w2"], used["w3"]}) < 8 {
		t.Errorf("the homes are at %v", used)
	}
}

// An edge that has just come up knows the homes as the others do.
func TestNewEdgeLearnsOfWorkersAtOnce(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	began := time.Now()
	e := must(natsrt.NewEdge(natsrt.EdgeConfig{Conn: must(r.server.EdgeConn("edge-2"))(t)}))(t)
	defer e.Close()
	out, err := e.Do(t.Context(), call("echo", `{}`, 20*time.Second), natsrt.DoOptions{Pool: "default", Home: "h"})
	if err != nil || out.Worker != "w1" {
		t.Errorf("%+v, %v", out, err)
	}
	t.Logf("after %v", time.Since(began))
}

func TestKilledHomeIsTakenOverAtOnceAndItsOthersStay(t *testing.T) {
	for name, sys := range map[string]bool{"ByEvent": true, "WithoutEvent": false} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, sys)
			all := map[string]*process{}
			for _, name := range []string{"w1", "w2", "w3"} {
				all[name] = r.process(name)
			}
			r.until("not all workers are known", func() bool { return len(r.edge.Workers()) == 3 })
			before := map[string]string{}
			for i := range 20 {
				home := fmt.Sprintf("server-%d", i)
				before[home] = r.where(home)
			}
			dead := before["server-0"]
			all[dead].signal(t, syscall.SIGKILL)
			all[dead].cmd.Wait()
			killed := time.Now()
			r.where("server-0")
			t.Logf("taken over after %v", time.Since(killed))
			for home, was := range before {
				if now := r.where(home); now == dead || was != dead && now != was {
					t.Errorf("%s moved from %s to %s", home, was, now)
				}
			}
			// Its name takes its homes again.
			all[dead] = r.process(dead)
			r.until("the new worker is not known", func() bool { return len(r.edge.Workers()) == 3 })
			for home, was := range before {
				if now := r.where(home); now != was {
					t.Errorf("%s was at %s and is at %s after it came back", home, was, now)
				}
			}
		})
	}
}

func TestLeavingHomeIsTakenOver(t *testing.T) {
	r := newRig(t)
	served := map[string]*natsrt.Served{}
	said := map[string]<-chan string{}
	for _, name := range []string{"w1", "w2"} {
		served[name], said[name] = r.local(name, 8)
	}
	r.until("not all workers are known", func() bool { return len(r.edge.Workers()) == 2 })
	first := r.where("h")
	running := call("hang", `{}`, 3*time.Second)
	ended := make(chan error, 1)
	go func() {
		_, err := r.do(running, natsrt.DoOptions{Home: "h"})
		ended <- err
	}()
	await(t, said[first], "begin "+running.ID)
	stopped := make(chan error, 1)
	go func() { stopped <- served[first].Stop(context.Background()) }()
	r.until("its calls go on to the worker that leaves", func() bool { return r.where("h") != first })
	wantCode(t, <-ended, fault.DeadlineExceeded) // it could finish
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// What a server keeps is in one place: a call waits for it rather than run where
// that is not.
func TestFullHomeIsBusyAndNotSpreadElsewhere(t *testing.T) {
	r := newRig(t)
	said := map[string]<-chan string{}
	for _, name := range []string{"w1", "w2"} {
		_, said[name] = r.local(name, 1)
	}
	r.until("not all workers are known", func() bool { return len(r.edge.Workers()) == 2 })
	home := r.where("h")
	c := call("hang", `{}`, 15*time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.edge.Do(ctx, c, natsrt.DoOptions{Pool: "default", Home: "h"})
	}()
	await(t, said[home], "begin "+c.ID)
	_, err := r.do(call("echo", `{}`, 10*time.Second), natsrt.DoOptions{Home: "h"})
	if f := wantCode(t, err, fault.Busy); f.RetryAfter == 0 {
		t.Errorf("%+v", f)
	}
	// It waits for a slot that is soon free.
	waits := make(chan natsrt.Outcome, 1)
	go func() {
		out, err := r.do(call("echo", `{}`, 10*time.Second), natsrt.DoOptions{Home: "h", Retryable: true})
		if err != nil {
			t.Error(err)
		}
		waits <- out
	}()
	cancel()
	<-ended
	if out := <-waits; out.Worker != home {
		t.Errorf("it ran at %s, its home is %s", out.Worker, home)
	}
}

func TestHomeWithoutAnyWorker(t *testing.T) {
	r := newRig(t)
	_, err := r.do(call("echo", `{}`, 20*time.Second), natsrt.DoOptions{Home: "h"})
	wantCode(t, err, fault.NoWorker)
}
