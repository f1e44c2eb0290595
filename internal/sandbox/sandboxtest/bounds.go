//go:build linux

package sandboxtest

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"latchkey/internal/sandbox"
)

// attacked runs an attack to its end.
func (s *suite) attacked(a sandbox.Attack, l sandbox.Limits, state string) ([]sandbox.Finding, sandbox.Exit) {
	s.Helper()
	if s.Driver == nil {
		s.driver(sandbox.Options{})
	}
	a.OwnKernel = s.OwnKernel
	spec := sandbox.Spec{Argv: a.Command(), Limits: l}
	if state != "" {
		spec.State = []sandbox.Mount{{Source: state, Target: "/state"}}
	}
	p := s.start(spec)
	late := time.AfterFunc(soon, func() { p.Stop(0) })
	defer late.Stop()
	found := sandbox.Findings(p)
	return found, s.wait(p)
}

func (s *suite) forks() {
	const limit = 40
	found, e := s.attacked(sandbox.Attack{Hoard: "forks", Count: 2000}, sandbox.Limits{Pids: limit, MemoryBytes: 1 << 30}, "")
	if !e.OutOfPids && (len(found) != 1 || !found[0].Held) {
		s.Errorf("%+v, %+v", found, e)
	}
	s.Log(found, e.OutOfPids)
}

func (s *suite) memory() {
	s.driver(sandbox.Options{})
	l := sandbox.Limits{MemoryBytes: 128 << 20}
	for name, a := range map[string]sandbox.Attack{
		"one":     {Hoard: "memory", Count: 1, Bytes: 2 << 30},
		"several": {Hoard: "memory", Count: 6, Bytes: 100 << 20},
		"shared":  {Hoard: "shared", Count: 6, Bytes: 100 << 20},
		"sockets": {Hoard: "sockets", Count: 900},
	} {
		if s.OwnKernel && (name == "sockets" || name == "one") {
			continue // buffers are the sentry's memory; and a lone child of Go's may stand still there
		}
		found, e := s.attacked(a, l, "")
		// What one process asks for at once may be refused to it, instead.
		if refused := len(found) == 1 && found[0].Held; !e.OutOfMemory && !refused {
			s.Errorf("%s: %v, %+v", name, found, e)
		}
	}
	// And a process that stays within its bound lives.
	if found, e := s.attacked(sandbox.Attack{Hoard: "tmp", Bytes: 16 << 20}, l, ""); e.OutOfMemory || e.Code != 0 {
		s.Errorf("%v, %+v", found, e)
	}
}

func (s *suite) tmp() {
	found, e := s.attacked(sandbox.Attack{Hoard: "tmp", Bytes: 64 << 20}, sandbox.Limits{TmpBytes: 8 << 20, MemoryBytes: 1 << 30}, "")
	if len(found) != 2 || !found[0].Held || !found[1].Held {
		s.Errorf("%v, %+v", found, e)
	}
}

func (s *suite) state() {
	s.driver(sandbox.Options{})
	l := sandbox.Limits{StateBytes: 4 << 20}
	for name, a := range map[string]sandbox.Attack{
		"bytes": {Hoard: "state", State: "/state", Bytes: 64 << 20},
		"files": {Hoard: "files", State: "/state", Count: 20_000},
	} {
		dir := s.TempDir()
		found, e := s.attacked(a, l, dir)
		if !e.OutOfDisk {
			s.Errorf("%s: %v, %+v", name, found, e)
		}
		// It stays over: somebody has to look before it starts again.
		_, err := s.Driver.Start(s.Context(), sandbox.Spec{Tenant: "tn_a", Server: "sv_a", Argv: []string{"true"}, Limits: l, State: []sandbox.Mount{{Source: dir, Target: "/state"}}})
		if !errors.Is(err, sandbox.ErrStateFull) {
			s.Errorf("%s: started again: %v", name, err)
		}
	}
	// Links out of the folder are not measured, nor given away.
	outside, dir := s.TempDir(), s.TempDir()
	big := filepath.Join(outside, "big")
	if err := os.WriteFile(big, make([]byte, 8<<20), 0o600); err != nil {
		s.Fatal(err)
	}
	for _, to := range []string{outside, big} {
		if err := os.Symlink(to, filepath.Join(dir, filepath.Base(to))); err != nil {
			s.Fatal(err)
		}
	}
	before := s.userOf(big)
	if _, e := s.run(sandbox.Spec{Argv: sh("true"), Limits: l, State: []sandbox.Mount{{Source: dir, Target: "/state"}}}); e.Code != 0 {
		s.Errorf("%+v", e)
	}
	if s.userOf(big) != before {
		s.Error("a file outside of the state was given to the tenant")
	}
}
