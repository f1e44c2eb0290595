package natsrt_test

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/natsrt"
)

// soon bounds how late a dead or hung worker may be noticed on a busy machine, where
// the call itself has thirty seconds: it takes tens of milliseconds, or 1.5 s where
// only silence tells.
const soon = 5 * time.Second

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// hang stops the process, and returns when it has stopped: the signal alone
// comes back before that.
func (p *process) hang(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the worker did not stop: %v, %v", status, err)
	}
}

type ending struct {
	natsrt.Outcome
	err error
	at  time.Time
}

// goDo runs a call and waits until a process has begun it.
func (r *rig) goDo(c *runtime.Call, o natsrt.DoOptions, at *process) <-chan ending {
	r.Helper()
	ended := make(chan ending, 1)
	go func() {
		out, err := r.do(c, o)
		ended <- ending{out, err, time.Now()}
	}()
	await(r.T, at.said, "begin "+c.ID)
	return ended
}

// accepted waits until the edge has the acceptance of a repeatable call, which
// comes a little after its beginning: a fresh call takes the same way.
func (r *rig) accepted(o natsrt.DoOptions) {
	r.Helper()
	for range 20 {
		if _, err := r.do(call("echo", `{}`, 5*time.Second), o); err != nil {
			r.Fatal(err)
		}
	}
}

func TestKilledWorkerWithEffectsIsUnknown(t *testing.T) {
	for name, sys := range map[string]bool{"ByEvent": true, "ByHeartbeat": false} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, sys)
			w := r.process("w1")
			ended := r.goDo(call("hang", `{}`, 30*time.Second), natsrt.DoOptions{}, w)
			killed := time.Now()
			w.signal(t, syscall.SIGKILL)
			got := <-ended
			f := wantCode(t, got.err, fault.OutcomeUnknown)
			if !strings.Contains(f.Message, "not known") || got.Worker != "w1" || got.Attempts != 1 || !got.Started || got.Answered {
				t.Errorf("%q, %+v", f.Message, got.Outcome)
			}
			if took := got.at.Sub(killed); took > soon {
				t.Errorf("the caller heard of it after %v", took)
			}
			t.Logf("noticed after %v", got.at.Sub(killed))
		})
	}
}

func TestKilledWorkerReadOnlyRunsElsewhere(t *testing.T) {
	r := newRig(t)
	w1 := r.process("w1")
	c := call("hang", `{}`, 10*time.Second)
	ended := r.goDo(c, natsrt.DoOptions{Retryable: true}, w1)
	w2 := r.process("w2")
	r.accepted(natsrt.DoOptions{Retryable: true})
	killed := time.Now()
	w1.signal(t, syscall.SIGKILL)
	await(t, w2.said, "begin "+c.ID)
	if took := time.Since(killed); took > soon {
		t.Errorf("begun elsewhere after %v", took)
	}
	t.Logf("begun elsewhere after %v", time.Since(killed))
	got := <-ended
	wantCode(t, got.err, fault.DeadlineExceeded)
	if got.Worker != "w2" || got.Attempts < 2 {
		t.Errorf("%+v", got.Outcome)
	}
}

func TestHungWorkerIsNoticed(t *testing.T) {
	r := newRig(t)
	w := r.process("w1")
	ended := r.goDo(call("hang", `{}`, 30*time.Second), natsrt.DoOptions{}, w)
	stopped := time.Now()
	w.hang(t)
	got := <-ended
	wantCode(t, got.err, fault.OutcomeUnknown)
	if took := got.at.Sub(stopped); took > soon {
		t.Errorf("noticed after %v", took)
	}
	t.Logf("noticed after %v", got.at.Sub(stopped))
}

// A hung worker stays in the queue group until the server misses its pongs.
// Calls that it is handed in that time go to the other one.
func TestHungWorkerDoesNotFailCalls(t *testing.T) {
	r := newRig(t)
	hung := r.process("w1")
	r.process("w2")
	hung.hang(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			out, err := r.do(call("echo", `{}`, 20*time.Second), natsrt.DoOptions{})
			if err != nil || out.Worker != "w2" {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
	all.Wait()
}

func TestWokenWorkerRefusesStaleCall(t *testing.T) {
	r := newRig(t)
	w := r.process("w1")
	r.accepted(natsrt.DoOptions{}) // the server is open, so that nothing else is in the way
	w.hang(t)
	c := call("echo", `{}`, 1200*time.Millisecond)
	out, err := r.do(c, natsrt.DoOptions{})
	if err == nil || out.Started && !fault.HasCode(err, fault.DeadlineExceeded) {
		t.Fatalf("%+v, %v", out, err)
	}
	w.signal(t, syscall.SIGCONT)
	// It answers again, after everything that it had been sent meanwhile.
	r.until("the woken worker takes no calls", func() bool {
		after := call("echo", `{}`, 5*time.Second)
		if _, err := r.do(after, natsrt.DoOptions{Retryable: true}); err != nil {
			return false
		}
		for {
			line := await(t, w.said, "begin")
			if line == "begin "+c.ID {
				t.Error("the woken worker ran a call that the edge had given up")
			}
			if line == "begin "+after.ID {
				return true
			}
		}
	})
}

// A call with effects that nobody accepted has not happened, and so it is
// safe to say that, or to run it when the worker is back.
func TestUnacceptedCallIsBusyNotUnknown(t *testing.T) {
	r := newRig(t)
	w := r.process("w1")
	w.hang(t)
	out, err := r.do(call("echo", `{}`, 20*time.Second), natsrt.DoOptions{})
	if !fault.HasCode(err, fault.Busy) && !fault.HasCode(err, fault.NoWorker) {
		t.Errorf("error is %v", err)
	}
	if out.Started {
		t.Errorf("nobody accepted it: %+v", out)
	}
}

func TestKilledWorkerUnderLoadLosesNoReadOnlyCall(t *testing.T) {
	r := newRig(t)
	w1 := r.process("w1")
	r.process("w2")
	begun := make(chan struct{})
	var once sync.Once
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := range 200 {
				if i == 20 {
					once.Do(func() { close(begun) })
				}
				if _, err := r.do(call("echo", `{}`, 20*time.Second), natsrt.DoOptions{Retryable: true}); err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			}
		})
	}
	<-begun
	w1.signal(t, syscall.SIGKILL)
	all.Wait()
}

// Every call with effects that a killed worker had begun is unknown to its
// caller, and every one that is reported as not done was not begun.
func TestKilledWorkerUnderLoadNeverRunsEffectsTwice(t *testing.T) {
	r := newRig(t)
	w1, w2 := r.process("w1"), r.process("w2")
	var mu sync.Mutex
	begun := map[string]int{}
	var reading sync.WaitGroup
	for _, w := range []*process{w1, w2} {
		reading.Go(func() {
			for line := range w.said {
				if id, ok := strings.CutPrefix(line, "begin "); ok {
					mu.Lock()
					begun[id]++
					mu.Unlock()
				}
			}
		})
	}
	notDone := map[string]error{}
	halfway := make(chan struct{})
	var once sync.Once
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := range 150 {
				if i == 30 {
					once.Do(func() { close(halfway) })
				}
				c := call("echo", `{}`, 20*time.Second)
				out, err := r.do(c, natsrt.DoOptions{})
				if err == nil || fault.HasCode(err, fault.OutcomeUnknown) {
					continue
				}
				if out.Started {
					t.Errorf("started, and yet %v", err)
				}
				mu.Lock()
				notDone[c.ID] = err
				mu.Unlock()
			}
		})
	}
	<-halfway
	w1.signal(t, syscall.SIGKILL)
	all.Wait()
	w2.signal(t, syscall.SIGKILL)
	reading.Wait()
	for id, n := range begun {
		if n > 1 {
			t.Errorf("%s was begun %d times", id, n)
		}
		if err := notDone[id]; err != nil {
			t.Errorf("%s was begun, and the caller was told %v", id, err)
		}
	}
}
