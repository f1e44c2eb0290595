// Package fresh caches values that must be as new as the last committed
// change: whoever hears of a change drops the value, and while nothing can be
// heard every read goes to the source.
//
// It owns that rule only. What is loaded and who tells of changes is the
// caller's business.
package fresh

import (
	"context"
	"strconv"
	"sync"

	"golang.org/x/sync/singleflight"
)

// Cache holds at most max values. It starts deaf: until Hearing(true) nothing
// is kept.
type Cache[K comparable, V any] struct {
	load func(context.Context, K) (V, error)
	key  func(K) string
	max  int

	flight singleflight.Group
	mu     sync.RWMutex
	values map[K]V
	// changes counts drops: a value whose load began before a drop is not kept.
	changes uint64
	hearing bool
}

// New makes a cache over load. key must tell any two K apart.
func New[K comparable, V any](max int, key func(K) string, load func(context.Context, K) (V, error)) *Cache[K, V] {
	return &Cache[K, V]{load: load, key: key, max: max, values: map[K]V{}}
}

// Get returns the value, from memory or the source. Errors are not kept.
// Callers that ask for the same key at once share one load.
func (c *Cache[K, V]) Get(ctx context.Context, k K) (V, error) {
	c.mu.RLock()
	v, ok := c.values[k]
	changes, hearing := c.changes, c.hearing
	c.mu.RUnlock()
	if ok {
		return v, nil
	}
	if !hearing {
		return c.load(ctx, k)
	}
	// Loads are shared only among those who saw the same state of changes: who
	// asks after a change never gets what was read before it.
	type loaded struct{ v V }
	got, err, _ := c.flight.Do(c.key(k)+"\x00"+strconv.FormatUint(changes, 10), func() (any, error) {
		v, err := c.load(context.WithoutCancel(ctx), k)
		if err != nil {
			return loaded{v}, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.hearing && c.changes == changes {
			c.evict()
			c.values[k] = v
		}
		return loaded{v}, nil
	})
	return got.(loaded).v, err
}

// evict makes room for one more; which value goes does not matter.
func (c *Cache[K, V]) evict() {
	for k := range c.values {
		if len(c.values) < c.max {
			return
		}
		delete(c.values, k)
	}
}

// Drop forgets the values whose key matches.
func (c *Cache[K, V]) Drop(match func(K) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	for k := range c.values {
		if match(k) {
			delete(c.values, k)
		}
	}
}

// Hearing says whether changes can be heard. Either way everything is
// forgotten: before true something may have been missed.
func (c *Cache[K, V]) Hearing(yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.hearing = yes
	clear(c.values)
}
