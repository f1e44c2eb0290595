//go:build runsc

// Package runsc pins gVisor's runtime, which `make runsc` builds. It is a module
// of its own, so that its requirements are not the platform's.
package runsc

import _ "gvisor.dev/gvisor/runsc"
