// Package deadline is the time that a call has, which stands still while a
// person is waited for.
//
// It owns the contexts that end with that time. It leaves to its users what they
// wait for, and how long at most a single question may wait.
package deadline

import (
	"context"
	"sync"
	"time"
)

// Deadline is a time that moves on while it is held, up to a bound. It is safe
// for concurrent use. What its contexts cost is a timer each.
type Deadline struct {
	mu       sync.Mutex
	at       time.Time     // as if nobody held it from now on
	left     time.Duration // by how much it may still be put off
	holders  int
	since    time.Time // the first of them began
	contexts map[*timed]struct{}
}

// New makes a deadline that can be put off by no more than most in all.
func New(at time.Time, most time.Duration) *Deadline {
	return &Deadline{at: at, left: max(most, 0), contexts: map[*timed]struct{}{}}
}

// Hold stops the time until release, which may be called more than once. Of
// several that hold it at once each moment counts once.
func (d *Deadline) Hold() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.holders++; d.holders == 1 {
		d.since = time.Now()
		d.arm()
	}
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.holders--; d.holders == 0 {
			by := min(time.Since(d.since), d.left)
			d.at, d.left = d.at.Add(by), d.left-by
			d.arm()
		}
	})
}

// At is when the time is over: while it is held, at the latest.
func (d *Deadline) At() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.end()
}

// end runs under d.mu, like arm.
func (d *Deadline) end() time.Time {
	if d.holders > 0 {
		return d.at.Add(d.left)
	}
	return d.at
}

func (d *Deadline) arm() {
	end := d.end()
	for c := range d.contexts {
		c.timer.Reset(time.Until(end))
	}
}

// With is a context that ends when the time is over, with DeadlineExceeded, or
// with its parent, or when it is cancelled.
func (d *Deadline) With(parent context.Context) (context.Context, context.CancelFunc) {
	c := &timed{Context: parent, of: d, done: make(chan struct{})}
	d.mu.Lock()
	d.contexts[c] = struct{}{}
	c.timer = time.AfterFunc(time.Until(d.end()), c.expire)
	d.mu.Unlock()
	unlink := context.AfterFunc(parent, func() { c.finish(parent.Err()) })
	return c, func() {
		unlink()
		c.finish(context.Canceled)
	}
}

// timed is a context of a deadline. It has a channel of its own, so that the
// context package asks it for its error rather than the parent it knows.
type timed struct {
	context.Context // the parent, for its values
	of              *Deadline
	timer           *time.Timer
	done            chan struct{}

	mu    sync.Mutex
	err   error
	after map[*func()]struct{}
}

func (c *timed) Done() <-chan struct{} { return c.done }

func (c *timed) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *timed) Deadline() (time.Time, bool) {
	end := c.of.At()
	if parents, ok := c.Context.Deadline(); ok && parents.Before(end) {
		return parents, true
	}
	return end, true
}

// AfterFunc lets contexts that are made of this one end without a goroutine
// each; see the package context.
func (c *timed) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = map[*func()]struct{}{}
	}
	key := &f
	c.after[key] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waits := c.after[key]
		delete(c.after, key)
		return waits
	}
}

// expire runs when the timer fires, which may be when the time was just put off.
func (c *timed) expire() {
	c.of.mu.Lock()
	if rest := time.Until(c.of.end()); rest > 0 {
		if _, lives := c.of.contexts[c]; lives {
			c.timer.Reset(rest)
		}
		c.of.mu.Unlock()
		return
	}
	c.of.mu.Unlock()
	c.finish(context.DeadlineExceeded)
}

func (c *timed) finish(err error) {
	c.of.mu.Lock()
	delete(c.of.contexts, c)
	c.timer.Stop()
	c.of.mu.Unlock()
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	after := c.after
	c.after = nil
	close(c.done)
	c.mu.Unlock()
	for f := range after {
		go (*f)()
	}
}
