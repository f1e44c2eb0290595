package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Defaults are the limits of a Spec that names none.
var Defaults = Limits{
	MemoryBytes: 512 << 20,
	Pids:        64,
	CPUMillis:   1000,
	TmpBytes:    64 << 20,
	StateBytes:  256 << 20,
	OpenFiles:   1024,
}

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	l.MemoryBytes = either(l.MemoryBytes, Defaults.MemoryBytes)
	l.Pids = either(l.Pids, Defaults.Pids)
	l.CPUMillis = either(l.CPUMillis, Defaults.CPUMillis)
	l.TmpBytes = either(l.TmpBytes, Defaults.TmpBytes)
	l.StateBytes = either(l.StateBytes, Defaults.StateBytes)
	l.OpenFiles = either(l.OpenFiles, Defaults.OpenFiles)
	return l
}

func either[T int | int64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// Below minMemory and minPids not even the driver's own part starts.
const (
	minMemory = 64 << 20
	minPids   = 16
	minTmp    = 1 << 20
	minFiles  = 32
)

func (l Limits) validate() error {
	for _, r := range []struct {
		name        string
		v, low, top int64
	}{
		{"MemoryBytes", l.MemoryBytes, minMemory, 1 << 40}, {"Pids", int64(l.Pids), minPids, 1 << 16}, {"CPUMillis", int64(l.CPUMillis), 10, 1 << 20},
		{"TmpBytes", l.TmpBytes, minTmp, 1 << 40}, {"StateBytes", l.StateBytes, 1 << 16, 1 << 44}, {"OpenFiles", int64(l.OpenFiles), minFiles, 1 << 20},
	} {
		if r.v < r.low || r.v > r.top {
			return fmt.Errorf("limit %s is %d: it must be %d to %d", r.name, r.v, r.low, r.top)
		}
	}
	return nil
}

// taken are folders inside that are the driver's own.
var taken = []string{"/usr", "/bin", "/lib", "/lib32", "/lib64", "/sbin", "/proc", "/dev", "/sys", "/etc", ours}

// ours has the driver's helper and the egress socket, inside.
const ours = "/run/latchkey"

var (
	envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	keyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
)

const maxEnv = 1 << 20 // bytes of all variables; and of all files

// validate refuses what would reach beyond the sandbox or break its making.
func (s *Spec) validate() error {
	if !keyName.MatchString(s.Tenant) || !keyName.MatchString(s.Server) {
		return fmt.Errorf("tenant %.60q and server %.60q must be identifiers", s.Tenant, s.Server)
	}
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return errors.New("no command")
	}
	size := 0
	for _, a := range s.Argv {
		if size += len(a); strings.ContainsRune(a, 0) || !utf8.ValidString(a) || size > 128<<10 {
			return errors.New("the command must be UTF-8 without NUL and at most 128 KB")
		}
	}
	size = 0
	for name, v := range s.Env {
		if size += len(name) + len(v.Reveal()); !envName.MatchString(name) || strings.ContainsRune(v.Reveal(), 0) || !utf8.ValidString(v.Reveal()) {
			return fmt.Errorf("variable %.60q: a name is letters, digits and _, and a value is UTF-8 without NUL", name)
		}
	}
	if size > maxEnv || len(s.Env) > 1000 {
		return errors.New("the environment is over 1 MB or 1000 variables")
	}
	if s.Dir != "" && !clean(s.Dir) {
		return fmt.Errorf("working folder %.100q must be absolute and clean", s.Dir)
	}
	if err := s.validatePlaces(); err != nil {
		return err
	}
	for _, e := range s.Egress {
		if _, err := parseRule(e); err != nil {
			return err
		}
	}
	return s.Limits.validate()
}

// validatePlaces looks at all that is mounted: each at a place of its own.
func (s *Spec) validatePlaces() error {
	if len(s.ReadOnly)+len(s.State)+len(s.Files) > 256 {
		return errors.New("more than 256 mounts and files")
	}
	var targets []string
	for _, m := range slices.Concat(s.ReadOnly, s.State) {
		if !clean(m.Source) {
			return fmt.Errorf("mount of %.100q: the source must be absolute and clean", m.Source)
		}
		targets = append(targets, m.Target)
	}
	size := 0
	for name, v := range s.Files {
		if size += len(v.Reveal()); size > maxEnv {
			return errors.New("files are over 1 MB together")
		}
		targets = append(targets, name)
	}
	slices.Sort(targets)
	for i, t := range targets {
		if !clean(t) || t == "/" || t == "/tmp" || t == "/run" {
			return fmt.Errorf("mount at %.100q: the target must be absolute, clean and a folder of its own", t)
		}
		for _, own := range taken {
			if within(t, own) {
				return fmt.Errorf("mount at %.100q: %s is the sandbox's own", t, own)
			}
		}
		if i > 0 && t == targets[i-1] {
			return fmt.Errorf("two mounts at %.100q", t)
		}
	}
	return nil
}

func clean(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && !strings.ContainsRune(p, 0)
}

func within(p, folder string) bool {
	return p == folder || strings.HasPrefix(p, folder+"/")
}

// environment is what the process sees: ours first, then the spec's.
func (s *Spec) environment(proxy string) []string {
	env := map[string]string{
		"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp/home", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "USER": "mcp", "LOGNAME": "mcp",
	}
	if proxy != "" {
		for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "npm_config_proxy", "npm_config_https_proxy"} {
			env[name] = proxy
		}
		env["NO_PROXY"], env["no_proxy"] = "localhost,127.0.0.1,::1", "localhost,127.0.0.1,::1"
		env["NODE_USE_ENV_PROXY"] = "1" // Node 22.21 and 24: fetch and http(s) follow the variables
		env["SSL_CERT_FILE"] = certificates
	}
	for name, v := range s.Env {
		env[name] = v.Reveal()
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}

// certificates is where the host's certificate authorities are, inside.
const certificates = "/etc/ssl/certs/ca-certificates.crt"
