// Command helper is the sandbox's helper and nothing else. Tests that run under
// the race detector, whose programs need more memory than a sandbox has, mount
// it instead of themselves.
package main

import (
	"fmt"
	"os"

	"latchkey/internal/sandbox"
)

func main() {
	sandbox.Helper()
	fmt.Fprintln(os.Stderr, "helper: this is for the sandbox's driver alone")
	os.Exit(2)
}
