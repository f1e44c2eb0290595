//go:build !linux

package main

import (
	"context"
	"net"
)

// listen takes connections. A client that vanished without a word is noticed
// when the system gives up on it.
func listen(ctx context.Context, address string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
}
