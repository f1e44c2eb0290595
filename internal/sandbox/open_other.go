//go:build !linux

package sandbox

import "errors"

// Helper is for Linux.
func Helper() {}

// DefaultUIDs are for Linux.
var DefaultUIDs []UIDs

func open(Options) (Driver, error) {
	return nil, errors.New("sandboxes need Linux: run the worker there, or in a container")
}
