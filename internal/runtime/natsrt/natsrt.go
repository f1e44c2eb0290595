// Package natsrt carries calls from an edge to a worker and results back, over
// core NATS: a request to a pool's queue group, frames to one inbox of the
// edge, and a control subject for each worker.
//
// It owns the frames, the rules of when a call may be sent again, the notice
// of a worker's death, and the embedded server with its permissions. It leaves
// running a call to runtime, and whether a call may be made at all to the
// edge's other steps. Nothing is stored: what is lost here is reported as lost.
//
// # When a call may be sent again
//
// A worker that refuses a call, or has not taken it by its accept-by time, has
// not started it: such a call may always go to another worker. Two things make
// that true for a call with effects. The worker sends its acceptance, waits
// until the server has confirmed it, and looks at the clock again before it
// starts. The edge, when the time is over, sends itself a frame through the
// server and believes "not accepted" only if no acceptance came before that
// frame did. The accept-by time is compared on two machines: their clocks may
// differ by 100 ms.
//
// Once accepted, a call with effects is never sent again: if its worker is
// lost, the outcome is unknown, and the caller is told so.
//
// # What comes back while a call runs
//
// Progress and notifications may be dropped, but never change their order. A
// question of the upstream is a frame with a number; its answer, or why there is
// none, goes over the worker's control subject. It ends with its call, and with
// its worker: nobody is left to be asked something that no call waits for. While
// it waits, neither side's clock runs for the call (runtime.MaxHeld), heartbeats
// tell that the worker lives, and the worker's slot is another's.
package natsrt

import (
	"strings"
	"time"
)

// Subjects. A call's token is random: a worker can only answer the calls it was
// handed.
const (
	callPrefix    = "call."       // + pool; queue group workersQueue
	controlPrefix = "ctl."        // + worker instance
	inboxPrefix   = "_R."         // + edge + "." + token
	replyPrefix   = "_W"          // + "." + random; where workers get answers to their own requests
	openingGet    = "opening.get" // queue group edgesQueue
	announce      = "worker.announce"
	workersQueue  = "workers"
	edgesQueue    = "edges"
)

// Times and sizes of the protocol. They are part of it: both sides rely on
// them.
const (
	acceptBy      = 400 * time.Millisecond  // a worker starts a call no later than this
	acceptWait    = 500 * time.Millisecond  // an edge waits this long for the acceptance
	acceptDelay   = 5 * time.Millisecond    // a call that may be repeated is accepted by its result, if that comes so soon
	beatEvery     = 500 * time.Millisecond  // heartbeats, one for all calls of an edge
	silence       = 1500 * time.Millisecond // three of them missed: the worker is lost
	announceEvery = 2 * time.Second

	chunkSize     = 256 << 10
	chunkWindow   = 8                   // chunks on their way without credit
	maxResult     = 10 << 20            // as runtime counts it
	maxWire       = maxResult + 256<<10 // with lengths, metadata and a resource's JSON
	maxCallSize   = 1 << 20
	maxInstance   = 96
	maxProgress   = 1 << 10 // bytes of a progress message
	maxErrorText  = 4 << 10
	maxDetails    = 32
	tokenLen      = 16
	instanceExtra = 11 // "-" and the random part that makes a name an instance
)

// validToken reports whether s can be one token of a subject.
func validToken(s string) bool {
	return s != "" && len(s) <= maxInstance && !strings.ContainsAny(s, ".*> \t\r\n\x00")
}

// workerName is the configured name of an instance.
func workerName(instance string) string {
	if n := len(instance) - instanceExtra; n > 0 && instance[n] == '-' {
		return instance[:n]
	}
	return instance
}
