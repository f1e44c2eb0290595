package mcpgateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
)

// A session ends when nothing was asked of it for a while, and not while a stream
// or a request of it is open, however long that is.
func TestSessionEndsWhenNobodyUsesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ex := &exchange{info: &auth.TokenInfo{UserID: "tn/sv/us"}}
		n, err := newSessions().begin("ed1.ss1", ex)
		if err != nil {
			t.Fatal(err)
		}
		ended := func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.closed
		}
		leave := n.enter(ex, true)
		time.Sleep(3 * sessionIdle)
		if ended() {
			t.Fatal("it ended while a stream was open")
		}
		leave()
		time.Sleep(sessionIdle - time.Second)
		n.enter(ex, false)() // a request puts it off
		time.Sleep(sessionIdle - time.Second)
		if ended() {
			t.Fatal("it ended too early")
		}
		time.Sleep(2 * time.Second)
		if !ended() {
			t.Error("it goes on for ever")
		}
	})
}
