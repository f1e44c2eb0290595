//go:build !linux

package testenv

import "os"

// tempRoot is where test processes put what they forget.
func tempRoot() string { return os.TempDir() }
