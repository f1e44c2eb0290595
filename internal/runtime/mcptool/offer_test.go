package mcptool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestListsAreReadAgainInTime: at once when something changed, else after a
// while, by one at a time, and never believed after a failure.
func TestListsAreReadAgainInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k kept
		k.init()
		var reads atomic.Int64
		takes, fails := time.Millisecond, error(nil)
		which := func(k *kept) *listed { return &k.tools }
		ask := func() {
			t.Helper()
			hashes, err := k.ask(t.Context(), which, func() (map[string]string, error) {
				reads.Add(1)
				time.Sleep(takes)
				return map[string]string{"a": "1"}, fails
			})
			if err == nil && hashes["a"] != "1" || !errors.Is(err, fails) {
				t.Errorf("%v, %v", hashes, err)
			}
		}
		expect := func(when string, n int64) {
			t.Helper()
			if got := reads.Swap(0); got != n {
				t.Errorf("%s: %d reads, want %d", when, got, n)
			}
		}
		var all sync.WaitGroup
		for range 10 {
			all.Go(ask)
		}
		all.Wait()
		expect("many at once", 1)
		time.Sleep(freshLeast - time.Second)
		ask()
		expect("before its time", 0)
		k.outdated()
		ask()
		expect("after a change", 1)
		time.Sleep(freshLeast + time.Second)
		fails = errors.New("away")
		ask()
		ask()
		expect("while it fails", 2)
		fails, takes = nil, time.Second
		ask()
		time.Sleep(time.Minute)
		ask()
		expect("a slow one", 1)
		time.Sleep(freshShare * takes)
		ask()
		expect("a slow one, later", 1)
	})
}

// TestWaitingForAListEndsWithTheCall, however long another one reads it.
func TestWaitingForAListEndsWithTheCall(t *testing.T) {
	var k kept
	k.init()
	k.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.ask(ctx, func(k *kept) *listed { return &k.tools }, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
