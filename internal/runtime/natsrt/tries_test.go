package natsrt

import (
	"testing"
	"time"

	"latchkey/internal/fault"
)

// A worker that was slow to accept has the call when the edge sends it again.
// The caller of a repeatable call is told to wait, not that it conflicts.
func TestSlowAcceptanceIsNoConflict(t *testing.T) {
	o := DoOptions{Retryable: true}
	var tr tries
	if _, f := tr.next(verdict{end: lapsed}, &o, time.Now()); f != nil {
		t.Fatalf("not tried again after a lapse: %v", f)
	}
	n := 1
	for ; ; n++ {
		_, f := tr.next(verdict{end: replayed}, &o, time.Now())
		if f == nil {
			continue
		}
		if f.Code != fault.Busy || f.RetryAfter == 0 {
			t.Errorf("the end is %v", f)
		}
		break
	}
	if n < 2 || n > maxBusy {
		t.Errorf("%d tries", n)
	}
	// With effects it is not given to anybody again, and says what it is.
	tr = tries{}
	tr.next(verdict{end: lapsed}, &DoOptions{}, time.Now())
	if _, f := tr.next(verdict{end: replayed}, &DoOptions{}, time.Now()); f == nil || f.Code != fault.Conflict {
		t.Errorf("a call with effects: %v", f)
	}
	// Its effects may have happened: nobody may take it for one that was not run.
	if !tr.gotThrough(verdict{end: replayed}) || tr.gotThrough(verdict{end: refused}) || new(tries).gotThrough(verdict{end: replayed}) {
		t.Error("an earlier try that got through is not noticed, or one that did not is")
	}
}
