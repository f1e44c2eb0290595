package fresh

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func newCounter(max int) (*Cache[string, int], func(string, int), *int) {
	var mu sync.Mutex
	source := map[string]int{"a": 1, "b": 2}
	loads := 0
	c := New(max, func(k string) string { return k }, func(_ context.Context, k string) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		loads++
		v, ok := source[k]
		if !ok {
			return 0, errors.New("unknown")
		}
		return v, nil
	})
	return c, func(k string, v int) { mu.Lock(); source[k] = v; mu.Unlock() }, &loads
}

func get(t *testing.T, c *Cache[string, int], k string) int {
	t.Helper()
	v, err := c.Get(context.Background(), k)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDeafCacheKeepsNothing(t *testing.T) {
	c, set, loads := newCounter(8)
	get(t, c, "a")
	set("a", 5)
	if got := get(t, c, "a"); got != 5 || *loads != 2 {
		t.Fatalf("got %d after %d loads", got, *loads)
	}
	c.Hearing(true)
	get(t, c, "a")
	get(t, c, "a")
	if *loads != 3 {
		t.Fatalf("%d loads, want 3", *loads)
	}
	c.Hearing(false)
	set("a", 6)
	if got := get(t, c, "a"); got != 6 {
		t.Fatalf("a cache that lost its connection served %d", got)
	}
}

func TestDropDuringLoadIsNotKept(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	var value, loads atomic.Int32
	value.Store(1)
	c := New(8, func(k string) string { return k }, func(context.Context, string) (int, error) {
		v := int(value.Load())
		if loads.Add(1) == 1 {
			close(started)
			<-release
		}
		return v, nil
	})
	c.Hearing(true)
	done := make(chan int)
	go func() { v, _ := c.Get(context.Background(), "a"); done <- v }()
	<-started
	value.Store(2)
	c.Drop(func(string) bool { return true })
	if v, _ := c.Get(context.Background(), "a"); v != 2 {
		t.Fatalf("a reader after the change got %d", v)
	}
	close(release)
	<-done
	if v, _ := c.Get(context.Background(), "a"); v != 2 {
		t.Fatalf("the stale load was kept: %d", v)
	}
}

func TestErrorsAreNotKeptAndSizeIsBounded(t *testing.T) {
	c, set, _ := newCounter(2)
	c.Hearing(true)
	if _, err := c.Get(context.Background(), "x"); err == nil {
		t.Fatal("no error")
	}
	for _, k := range []string{"x", "y", "z", "a", "b"} {
		set(k, 7)
		get(t, c, k)
	}
	if len(c.values) > 2 {
		t.Fatalf("%d values kept, at most 2 allowed", len(c.values))
	}
}
