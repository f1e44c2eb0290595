package natsrt

import (
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// The server calls a hung worker's connection stale after a second or two of
// silence. That must not give the worker more time than it has left.
func TestStaleConnectionGivesNoMoreTime(t *testing.T) {
	long, just := time.Now().Add(-1400*time.Millisecond), time.Now()
	silent := &attempt{instance: "w1-abc", heardAt: long, frames: make(chan frame, frameRoom)}
	heard := &attempt{instance: "w1-abc", heardAt: just, frames: make(chan frame, frameRoom)}
	other := &attempt{instance: "w2-abc", heardAt: just, frames: make(chan frame, frameRoom)}
	reads := &attempt{instance: "w1-abc", heardAt: just, repeatable: true, frames: make(chan frame, frameRoom)}
	e := &Edge{log: slog.New(slog.DiscardHandler), workers: map[string]*WorkerInfo{"w1-abc": {}}, attempts: map[string]*attempt{"a": silent, "b": heard, "c": other, "d": reads}}
	e.onDisconnect(&nats.Msg{Data: []byte(`{"client":{"name":"w1-abc"}}`)})
	if !silent.heardAt.Equal(long) {
		t.Errorf("the silent one was given %v more", silent.heardAt.Sub(long))
	}
	if left := silence - time.Since(heard.heardAt); left > reconnectGrace || left < reconnectGrace/2 {
		t.Errorf("a call with effects is lost in %v, want %v", left, reconnectGrace)
	}
	if !other.heardAt.Equal(just) || len(other.frames) != 0 {
		t.Error("another worker's call was touched")
	}
	if len(reads.frames) != 1 || (<-reads.frames).kind != kindLost {
		t.Error("a call that may be repeated must be lost at once")
	}
	if len(e.workers) != 0 {
		t.Error("the worker is still listed")
	}
}
