package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// DefaultUIDs are tried in turn: above what systems give to people, services
// and containers, and, in a container that has only 65,536, within those.
var DefaultUIDs = []UIDs{{First: 1_900_000_000, Count: 65_536}, {First: 20_000, Count: 40_000}}

func open(o Options) (Driver, error) {
	if o.UIDs.Count == 0 {
		for _, r := range DefaultUIDs {
			if r.mapped() {
				o.UIDs = r
				break
			}
		}
	}
	b, err := openBase(o)
	if err != nil {
		return nil, err
	}
	if o.Driver == "gvisor" {
		return openGvisor(b)
	}
	program, err := find(o.Bwrap, "bwrap", "LATCHKEY_SANDBOX_BWRAP")
	if err != nil {
		return nil, fmt.Errorf("%w. On Debian: `apt-get install bubblewrap`", err)
	}
	return &bwrap{base: b, program: program}, nil
}

// find looks for a program: as set, on PATH, or beside this one.
func find(set, name, setting string) (string, error) {
	if set == "" {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
		if exe, err := os.Executable(); err == nil {
			if path, err := exec.LookPath(filepath.Join(filepath.Dir(exe), name)); err == nil {
				return path, nil
			}
		}
		return "", fmt.Errorf("%s is not installed", name)
	}
	if _, err := exec.LookPath(set); err != nil {
		return "", fmt.Errorf("%s: %w", setting, err)
	}
	return set, nil
}

// mapped reports whether this user namespace has all of a range.
func (r UIDs) mapped() bool {
	f, err := os.Open("/proc/self/uid_map")
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var first, outside, count int
		if n, _ := fmt.Sscan(s.Text(), &first, &outside, &count); n == 3 && r.First >= first && r.First+r.Count <= first+count {
			return true
		}
	}
	return false
}
