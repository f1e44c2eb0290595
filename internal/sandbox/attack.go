package sandbox

import "encoding/json"

// An attack is what Probe and the suite run inside: the helper again, which
// tries to break each rule, and says for each what came of it.

// Attack is what to try.
type Attack struct {
	// Read, Write, Signal, Dial and Abstract are of the host: files, folders,
	// processes, host:port, and unix sockets without a file.
	Read, Write    []string
	Signal         []int
	Dial, Abstract []string
	Canary         [2]string // halves of what nothing in /proc may hold; these arguments hold it, too
	State          string    // a folder to write to
	// OwnKernel: calls reach a kernel that is the sandbox's, and break nothing
	// else.
	OwnKernel bool
	// Fetch gets URLs through the proxy, and does nothing else.
	Fetch []string
	// Hoard takes what is bounded: forks, memory, shared, tmp, state, stderr,
	// stdout, orphans.
	Hoard string
	Bytes int64
	Count int
}

// Finding is one attempt.
type Finding struct {
	Rule string // a guarantee's name
	Try  string
	Held bool
	Said string // what the kernel said, or what was got
}

// Command is the argv of an attack, in a sandbox.
func (a Attack) Command() []string {
	b, _ := json.Marshal(a)
	return []string{ours + "/helper", helperWord, "attack", string(b)}
}
