package main

import (
	"context"
	"net"
	"syscall"
	"time"
)

const (
	tcpUserTimeout = 0x12 // TCP_USER_TIMEOUT of tcp(7), which syscall has no name for
	// deadAfter is how long what was sent may stay unacknowledged: a client that
	// vanished without a word is noticed by the comments that keep its stream alive.
	deadAfter = 45 * time.Second
)

// listen takes connections, each of which ends when its client is gone.
func listen(ctx context.Context, address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { // connections have it from their listener
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(deadAfter.Milliseconds()))
		}); e != nil {
			return e
		}
		return err
	}}
	return lc.Listen(ctx, "tcp", address)
}
