package stdiotool

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/sandbox"
)

// crash is the end of a process that nobody asked for. Its words are for
// callers; what the process said is for the log, and for the control plane's
// probe.
type crash struct {
	words  string        // after "The server's process"
	stderr string        // its end, without secrets
	rest   time.Duration // until the next start
}

func (c *crash) Error() string {
	if c.stderr == "" {
		return "the process " + c.words
	}
	return "the process " + c.words + "; the end of its standard error: " + c.stderr
}

// crashOf puts the end of a process into words.
func crashOf(e sandbox.Exit, l limits, during string) *crash {
	c := &crash{stderr: e.Stderr}
	switch {
	case e.OutOfMemory, strings.Contains(e.Stderr, "heap out of memory"):
		c.words = fmt.Sprintf("needed more memory than its bound of %s and was ended", inUnits(l.Memory))
	case e.OutOfPids:
		c.words = fmt.Sprintf("wanted more than its bound of %d processes and threads, and ended", l.Pids)
	case e.OutOfDisk, strings.Contains(e.Stderr, "ENOSPC"):
		c.words = fmt.Sprintf("wrote more than its bounds allow (%s of state, %s besides), and ended", inUnits(l.State), inUnits(l.Tmp))
	case e.Signal != "":
		c.words = fmt.Sprintf("was ended by the signal %.40s", e.Signal)
	case e.Code == 0:
		c.words = "ended by itself"
	default:
		c.words = fmt.Sprintf("ended by itself with exit code %d", e.Code)
	}
	c.words += during
	return c
}

// fault is what a caller gets whose call was not run, or only read.
func (c *crash) fault() *fault.Error {
	again := "Call again; it is started again."
	if c.rest > 0 {
		again = fmt.Sprintf("It has ended several times and is started again in %s; tell the server's administrator if that goes on.", inSeconds(c.rest))
	}
	return fault.New(fault.ServerCrashed, "The server's process %s. %s", c.words, again).After(max(c.rest, time.Second)).Because(c)
}

// maxLastWords bounds what an administrator is told of a process's own words: a
// health record has no room for more.
const maxLastWords = 300

// withLastWords adds what the process said last to an error of the control
// plane's own calls: it is for administrators.
func withLastWords(err error) error {
	var c *crash
	f := fault.Of(err)
	if !errors.As(err, &c) || c.stderr == "" {
		return err
	}
	words := strings.Join(strings.Fields(c.stderr), " ")
	if len(words) > maxLastWords {
		words = "…" + strings.ToValidUTF8(words[len(words)-maxLastWords:], "")
	}
	told := fault.New(f.Code, "%s Its last words: %s", f.Message, words).After(f.RetryAfter).Because(err)
	return told.WithDetails(f.Details...)
}

// unknown is what a caller gets whose call may have had an effect.
func (c *crash) unknown(name string) *fault.Error {
	return fault.New(fault.OutcomeUnknown, "The server's process %s, while it ran %s. It is not known whether that took effect: check before you repeat it.", c.words, name).Because(c)
}

func inSeconds(d time.Duration) string {
	s := int((d + time.Second - 1) / time.Second)
	if s == 1 {
		return "a second"
	}
	return fmt.Sprintf("%d seconds", s)
}
