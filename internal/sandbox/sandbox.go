// Package sandbox runs a tenant's process so that it can harm nobody: no files
// but its own, no other processes, no network but what its egress list opens,
// and no more memory, processes, time and disk than it was given.
//
// It owns the drivers and what each can guarantee on this machine. It leaves
// MCP to its callers: what it gives is a process with a standard input and
// output.
package sandbox

import (
	"context"
	"io"
	"time"

	"latchkey/internal/secret"
)

// Driver starts processes. It is safe for concurrent use.
type Driver interface {
	// Name is bwrap or gvisor; empty while nothing holds (Kept).
	Name() string
	// Probe tries out what the driver guarantees on this machine, by running
	// something that breaks each rule. A worker hosts nothing on a driver that
	// does not hold Required: it fails closed, and doctor prints Notes.
	Probe(ctx context.Context) (Guarantees, error)
	// Start runs the process. It goes on when ctx is done.
	Start(ctx context.Context, s Spec) (Process, error)
}

// Guarantees are what a driver was seen to hold.
type Guarantees struct {
	Files     bool // nothing of the host can be read or written
	Processes bool // nothing of the host can be seen or signalled
	Network   bool // no route but the egress socket
	Memory    bool // a bound for all its processes together
	Pids      bool // a bound on how many they are
	CPU       bool
	Disk      bool // a bound on what it writes
	Syscalls  bool // a filter
	Kernel    bool // a kernel of its own
	// Notes say for each that is missing why, and what would bring it.
	Notes []string
}

// Missing lists which of the required guarantees are not there, in words.
func (g Guarantees) Missing() (missing []string) {
	for _, r := range []struct {
		held bool
		name string
	}{{g.Files, "files"}, {g.Processes, "processes"}, {g.Network, "network"}, {g.Memory, "memory"}, {g.Pids, "pids"}, {g.Disk, "disk"}, {g.Syscalls, "syscalls"}} {
		if !r.held {
			missing = append(missing, r.name)
		}
	}
	return missing
}

// Spec is one process of one tenant and server. It names no path of the
// platform's own.
type Spec struct {
	Tenant, Server string // they choose the uid and the cgroup
	Argv           []string
	Dir            string // inside
	// Env and Files hold secrets: they never stand in a command line, and Files
	// are in memory.
	Env   map[string]secret.Text
	Files map[string]secret.Text // by path inside
	// ReadOnly and State are mounted; State outlives the process.
	ReadOnly []Mount
	State    []Mount
	Limits   Limits
	// Egress are the host:port that may be connected to, through the proxy at
	// 127.0.0.1:3128 inside; `*.example.com:443` is every name below. None: no
	// network at all.
	Egress []string
}

// Mount shows a path of the host inside.
type Mount struct{ Source, Target string }

// Limits of all processes of a sandbox together. Zero values are the defaults.
type Limits struct {
	MemoryBytes int64 // 512 MB
	Pids        int   // 64
	CPUMillis   int   // 1000 is one core; 1000
	TmpBytes    int64 // of what is written outside of State, 64 MB
	StateBytes  int64 // of State, 256 MB
	OpenFiles   int   // 1024
}

// Process is a started sandbox.
type Process interface {
	// Stdio is the process's output and input.
	Stdio() (io.ReadCloser, io.WriteCloser)
	Stats() Stats
	// Wait blocks until all of it has ended. It may be called more than once.
	Wait() Exit
	// Stop asks the process to end by closing its input, then SIGTERM, and kills
	// all of it after grace.
	Stop(grace time.Duration)
}

// Stats of a running sandbox.
type Stats struct {
	MemoryBytes, PeakBytes int64
	Pids                   int
	CPU                    time.Duration
}

// Exit is how a sandbox ended.
type Exit struct {
	Code   int
	Signal string
	// OutOfMemory, OutOfPids and OutOfDisk: the bound was reached.
	OutOfMemory, OutOfPids, OutOfDisk bool
	Stderr                            string // its end, bounded, printable
}
