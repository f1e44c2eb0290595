package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/egress"
)

// Options are how an operator wants processes to be run.
type Options struct {
	Driver string // auto, bwrap, gvisor or off; empty is auto
	// Dir has what the driver remembers; workers on a machine share it.
	Dir string
	// Accept names guarantees that this operator does without.
	Accept []string
	// Bwrap and Runsc are the programs; empty: they are looked for on PATH.
	Bwrap, Runsc string
	// Helper is what stands in the sandbox and calls Helper; empty: this program.
	Helper string
	// UIDs are given to tenants' servers where the worker is root; zero: the
	// first of DefaultUIDs that this user namespace has.
	UIDs UIDs
	// Cgroup is a group of the worker's own, to have sandboxes' groups in; empty:
	// the one that it is in, where that is delegated to it.
	Cgroup string
	// Egress says which addresses an egress list can open at all; nil: public ones.
	Egress       *egress.Policy
	StartTimeout time.Duration // 10 s
	Again        time.Duration // until Keep's second try, doubled for each that follows; 5 s
	Log          *slog.Logger
}

// ReadOptions reads LATCHKEY_SANDBOX and the settings that begin with it, for a
// process of that user id.
func ReadOptions(env func(string) string, uid int) (o Options, err error) {
	o = Options{
		Driver: env("LATCHKEY_SANDBOX"), Dir: env("LATCHKEY_SANDBOX_DIR"), Cgroup: env("LATCHKEY_SANDBOX_CGROUP"),
		Bwrap: env("LATCHKEY_SANDBOX_BWRAP"), Runsc: env("LATCHKEY_SANDBOX_RUNSC"),
	}
	var errs []error
	if !slices.Contains([]string{"", "auto", "bwrap", "gvisor", "off"}, o.Driver) {
		errs = append(errs, fmt.Errorf("LATCHKEY_SANDBOX: %.40q must be auto, bwrap, gvisor or off", o.Driver))
	}
	if o.Dir == "" {
		o.Dir = defaultDir(env, uid)
	} else if !filepath.IsAbs(o.Dir) {
		errs = append(errs, errors.New("LATCHKEY_SANDBOX_DIR: must be an absolute path"))
	}
	for name := range strings.SplitSeq(env("LATCHKEY_SANDBOX_ACCEPT"), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if !slices.Contains(Guarantees{}.Missing(), name) {
			errs = append(errs, fmt.Errorf("LATCHKEY_SANDBOX_ACCEPT: %.40q is none of %s", name, strings.Join(Guarantees{}.Missing(), ", ")))
		}
		o.Accept = append(o.Accept, name)
	}
	if v := env("LATCHKEY_SANDBOX_UIDS"); v != "" {
		if o.UIDs, err = parseUIDs(v); err != nil {
			errs = append(errs, fmt.Errorf("LATCHKEY_SANDBOX_UIDS: %w", err))
		}
	}
	return o, errors.Join(errs...)
}

func parseUIDs(s string) (UIDs, error) {
	first, last, ok := strings.Cut(s, "-")
	a, err1 := strconv.Atoi(strings.TrimSpace(first))
	z, err2 := strconv.Atoi(strings.TrimSpace(last))
	if !ok || err1 != nil || err2 != nil || a < 1000 || z <= a || z > 1<<31-2 {
		return UIDs{}, errors.New("must be a range of user ids that no account has, such as 1900000000-1900065535")
	}
	return UIDs{First: a, Count: z - a + 1}, nil
}

func defaultDir(env func(string) string, uid int) string {
	if uid == 0 {
		return "/var/lib/latchkey/sandbox"
	}
	if dir := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "latchkey", "sandbox")
	}
	if home := env("HOME"); filepath.IsAbs(home) && home != "/" {
		return filepath.Join(home, ".local", "state", "latchkey", "sandbox")
	}
	return fmt.Sprintf("/tmp/latchkey-sandbox-%d", uid)
}

var (
	// ErrOff is that no driver was wanted.
	ErrOff = errors.New("the sandbox is switched off (LATCHKEY_SANDBOX=off)")
	// ErrStateFull is that a server's state is over its bound before it starts.
	ErrStateFull = errors.New("the state folder is full")
)

// Open finds the driver that is named, or bwrap. It does not say what it holds.
func Open(o Options) (Driver, error) {
	if o.StartTimeout == 0 {
		o.StartTimeout = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Egress == nil {
		o.Egress = &egress.Policy{}
	}
	if o.Driver == "off" {
		return nil, ErrOff
	}
	return open(o)
}

// Ready opens a driver and tries it out. It is an error when a guarantee is
// missing that the operator has not accepted to be without; what was found is
// given all the same. Where the operator leaves the choice, gVisor is taken
// if bwrap does not hold.
func Ready(ctx context.Context, o Options) (Driver, Guarantees, error) {
	try := []string{o.Driver}
	if o.Driver == "" || o.Driver == "auto" {
		try = []string{"bwrap", "gvisor"}
	}
	var first Guarantees
	var errs []error
	for i, name := range try {
		o.Driver = name
		d, err := Open(o)
		var g Guarantees
		if err == nil {
			g, err = d.Probe(ctx)
		}
		if err == nil {
			err = g.enough(o.Accept)
		}
		if err == nil {
			return d, g, nil
		}
		if i == 0 {
			first = g
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
		if errors.Is(err, ErrOff) || ctx.Err() != nil {
			return nil, g, err
		}
	}
	return nil, first, errors.Join(errs...)
}

func (g Guarantees) enough(accept []string) error {
	var lacking []string
	for _, name := range g.Missing() {
		if !slices.Contains(accept, name) {
			lacking = append(lacking, name)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return fmt.Errorf("not held: %s (%s)", strings.Join(lacking, ", "), strings.Join(g.Notes, "; "))
}
