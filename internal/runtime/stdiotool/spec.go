package stdiotool

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/packages"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/mcptool"
	"latchkey/internal/sandbox"
)

// spec is the normalized form, what a worker opens.
type spec struct {
	// One of these three is what is run.
	Package  *npmPackage       `json:"package,omitempty"`
	Download *download         `json:"download,omitempty"`
	Command  []string          `json:"command,omitempty"`
	Files    map[string]string `json:"files,omitempty"` // of a command, by path below /app
	Args     []string          `json:"args,omitempty"`
	Env      map[string]string `json:"env,omitempty"`
	Dir      string            `json:"dir,omitempty"`
	State    bool              `json:"state,omitempty"`
	Seed     map[string]string `json:"seed,omitempty"` // by path below /state
	PerUser  bool              `json:"per_user,omitempty"`
	// Stateless: the process keeps nothing between calls, so that nobody is told
	// when it is another one.
	Stateless bool   `json:"stateless,omitempty"`
	Protocol  string `json:"protocol,omitempty"` // the newest revision that is spoken
	Sandbox   string `json:"sandbox"`
	Limits    limits `json:"limits"`
	mcptool.Spec
}

type npmPackage struct {
	NPM       string `json:"npm"` // name@version
	Integrity string `json:"integrity,omitempty"`
	Bin       string `json:"bin,omitempty"`
	// Lock is what Define takes from the pinned offer.
	Lock json.RawMessage `json:"lock,omitempty"`
}

// asked is the package as packages knows it. The text was checked.
func (p *npmPackage) asked() packages.Package {
	q, _ := packages.Parse(p.NPM)
	q.Integrity, q.Bin, q.Lock = p.Integrity, p.Bin, p.Lock
	return q
}

type download struct {
	URL    string `json:"url"`
	SHA256 string `json:"sha256"`
	Run    string `json:"run,omitempty"`
}

func (d *download) asked() packages.Download { return packages.Download(*d) }

// find gives what is run, where that is on this machine already.
func (s *spec) find(c *packages.Cache) (packages.Installed, bool) {
	switch {
	case s.Package != nil:
		return c.Find(s.Package.asked())
	case s.Download != nil:
		return c.FindDownload(s.Download.asked())
	}
	return packages.Installed{}, true
}

// install has it brought here, which may take longer than a call.
func (s *spec) install(ctx context.Context, c *packages.Cache) (packages.Installed, error) {
	switch {
	case s.Package != nil:
		return c.Install(ctx, s.Package.asked())
	case s.Download != nil:
		return c.Fetch(ctx, s.Download.asked())
	}
	return packages.Installed{}, nil
}

// installs reports whether there is something to be brought here first.
func (s *spec) installs() bool { return s.Package != nil || s.Download != nil }

// limits of one process and all that it starts.
type limits struct {
	Memory    int64         `json:"memory"` // bytes
	Pids      int           `json:"pids"`
	CPUMillis int           `json:"cpu"` // 1000 is one core
	Tmp       int64         `json:"tmp"`
	State     int64         `json:"state"`
	Idle      time.Duration `json:"idle"`
	Start     time.Duration `json:"start"`
}

// Places inside of the sandbox.
const (
	packageDir = "/package"
	appDir     = "/app"
	stateDir   = "/state"
	secretsDir = "/secrets"
)

const (
	anySandbox = "any"

	mb           = 1 << 20
	defaultIdle  = 10 * time.Minute
	defaultStart = 30 * time.Second

	maxURL       = 2048
	maxArgs      = 64
	maxArg       = 4 << 10
	maxEnvNames  = 100
	maxEnvValue  = 16 << 10
	maxFiles     = 100
	maxFileBytes = 512 << 10 // of all files of a spec together: it travels whole
)

var (
	envPattern  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	filePattern = regexp.MustCompile(`^[A-Za-z0-9_@][A-Za-z0-9_@.-]{0,99}(/[A-Za-z0-9_@][A-Za-z0-9_@.-]{0,99}){0,7}$`)
	sizePattern = regexp.MustCompile(`^(\d{1,12}) ?(KB|MB|GB)$`)
)

// check reads a declared spec (runtime.Kind).
func check(n *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	r := &reader{Reader: &registry.Reader{}}
	s := r.spec(n)
	if len(r.Problems) > 0 {
		slices.SortStableFunc(r.Problems, func(a, b registry.Problem) int { return a.Line - b.Line })
		return nil, registry.Definition{}, r.Problems
	}
	return s.json(), registry.Definition{Instructions: s.Instructions}, nil
}

func (s *spec) json() json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil { // texts and numbers only
		panic(err)
	}
	return raw
}

type reader struct{ *registry.Reader }

func (r *reader) spec(n *yaml.Node) (s spec) {
	o := r.Object(n, "spec", mcptool.Keys("package", "download", "command", "args", "env", "dir", "state", "seed", "per", "stateless", "protocol", "sandbox", "limits")...)
	r.program(o, &s)
	s.Args = r.texts(o, "args")
	s.Env = r.environment(o)
	if s.Dir = o.Text("dir"); s.Dir != "" && (!path.IsAbs(s.Dir) || path.Clean(s.Dir) != s.Dir) {
		o.Bad("dir", fmt.Sprintf("%.80q is no folder inside", s.Dir), "write one such as "+stateDir+" or /tmp")
	}
	s.State = o.Flag("state")
	if s.Seed = r.files(o, "seed"); len(s.Seed) > 0 && !s.State {
		o.Bad("seed", "is of no use without state", "write state: true")
	}
	switch per := o.Text("per"); per {
	case "", "server":
	case "user":
		s.PerUser = true
	default:
		o.Bad("per", fmt.Sprintf("%.40q is not known", per), "write server for one process, or user for one of each person's own")
	}
	s.Stateless, s.Protocol = o.Flag("stateless"), mcptool.ReadProtocol(o)
	switch s.Sandbox = o.Text("sandbox"); s.Sandbox {
	case "":
		s.Sandbox = anySandbox
	case anySandbox, "bwrap", "gvisor":
	default:
		o.Bad("sandbox", fmt.Sprintf("%.40q is not known", s.Sandbox), "write any, bwrap or gvisor")
	}
	s.Limits = r.limits(o)
	s.Spec = mcptool.Read(o)
	return s
}

// program reads what is run: a package, a download, or a command.
func (r *reader) program(o registry.Object, s *spec) {
	var given []string
	for _, key := range []string{"package", "download", "command"} {
		if o.Value(key) != nil {
			given = append(given, key)
		}
	}
	switch {
	case len(given) > 1:
		o.Bad(given[1], "stands beside a "+given[0], "keep one of them; what a program is started with is args")
	case len(given) == 0:
		if o.Node != nil && o.Node.Kind == yaml.MappingNode {
			r.Problem(o.Node, "spec", "says no program", `write package: {npm: "name@1.2.3"}, or download: {url: …, sha256: …}, or command: {argv: […], files: {…}}`)
		}
	case given[0] == "package":
		s.Package = r.npm(r.Object(o.Value("package"), o.At("package"), "npm", "integrity", "bin"))
	case given[0] == "download":
		s.Download = r.download(r.Object(o.Value("download"), o.At("download"), "url", "sha256", "run"))
	default:
		r.command(r.Object(o.Value("command"), o.At("command"), "argv", "files"), s)
	}
}

func (r *reader) command(o registry.Object, s *spec) {
	s.Command, s.Files = r.texts(o, "argv"), r.files(o, "files")
	if len(s.Command) == 0 {
		o.Bad("argv", "is missing", "write the program and its arguments, such as argv: [node, /app/server.mjs]")
	} else if first := s.Command[0]; first != "node" && !(path.IsAbs(first) && path.Clean(first) == first) {
		o.Bad("argv", fmt.Sprintf("begins with %.80q", first), "begin with node, or with the full path of a program that the sandbox has, such as /usr/bin/python3")
	}
}

func (r *reader) download(o registry.Object) *download {
	d := &download{
		URL:    o.Needed("url", "write the address of the file, such as https://github.com/OWNER/NAME/releases/download/v1.2.3/NAME_linux_amd64.tar.gz"),
		SHA256: strings.ToLower(strings.TrimPrefix(o.Needed("sha256", "write the hash of the file, which its release page has, or `sha256sum` prints"), "sha256:")),
		Run:    o.Text("run"),
	}
	if d.URL != "" {
		if _, err := packages.ParseURL(d.URL); err != nil || len(d.URL) > maxURL {
			o.Bad("url", cmp.Or(errorText(err), fmt.Sprintf("has more than %d bytes", maxURL)), "write the https:// address of a file; only one of a network of your own may be http://")
		}
	}
	if d.SHA256 != "" && !packages.ValidSHA256(d.SHA256) {
		o.Bad("sha256", "is no SHA-256 in hex", "write 64 digits, such as `sha256sum` prints of the file")
	}
	if d.Run != "" && !filePattern.MatchString(d.Run) {
		o.Bad("run", "is no path in an archive", "write one such as bin/server, of letters, digits, _, @, - and .")
	}
	return d
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (r *reader) npm(o registry.Object) *npmPackage {
	p := &npmPackage{NPM: o.Needed("npm", `write the package with one exact version, such as "@modelcontextprotocol/server-memory@2026.8.31"`), Integrity: o.Text("integrity"), Bin: o.Text("bin")}
	if p.NPM != "" {
		if _, err := packages.Parse(p.NPM); err != nil {
			o.Bad("npm", err.Error(), "write name@version with one exact version: ranges and tags such as latest become something else over night")
		}
	}
	if p.Integrity != "" && !packages.ValidIntegrity(p.Integrity) {
		o.Bad("integrity", "is no hash as lock files have them", "write what `npm view NAME@VERSION dist.integrity` prints, sha512-…")
	}
	if len(p.Bin) > 100 || strings.ContainsAny(p.Bin, "/\\\x00") {
		o.Bad("bin", "is no name of a program", "write one of those in the package's bin")
	}
	return p
}

func (r *reader) texts(o registry.Object, key string) []string {
	all := o.Texts(key)
	if len(all) > maxArgs {
		o.Bad(key, fmt.Sprintf("has more than %d entries", maxArgs), "use a file of settings")
	}
	for _, a := range all {
		if len(a) > maxArg || strings.ContainsRune(a, 0) {
			o.Bad(key, fmt.Sprintf("has an entry of more than %d bytes", maxArg), "use a file of settings")
			break
		}
	}
	return all
}

func (r *reader) environment(o registry.Object) map[string]string {
	if !o.Has("env") {
		return nil
	}
	all := map[string]string{}
	r.Entries(o.Value("env"), o.At("env"), func(key, value *yaml.Node, at string) {
		switch {
		case !envPattern.MatchString(key.Value):
			r.Problem(key, at, "is no name of a variable", "use letters, digits and _")
		case value.Kind != yaml.ScalarNode:
			r.Problem(value, at, "must be a text", "write NAME: some text; secrets belong into connection.secrets")
		case len(value.Value) > maxEnvValue:
			r.Problem(value, at, fmt.Sprintf("has more than %d bytes", maxEnvValue), "use a file")
		default:
			all[key.Value] = value.Value
		}
	})
	if len(all) > maxEnvNames {
		o.Bad("env", fmt.Sprintf("has more than %d variables", maxEnvNames), "use a file of settings")
	}
	return all
}

// files reads a mapping of paths and texts.
func (r *reader) files(o registry.Object, key string) map[string]string {
	if !o.Has(key) {
		return nil
	}
	all := map[string]string{}
	size := 0
	r.Entries(o.Value(key), o.At(key), func(name, value *yaml.Node, at string) {
		switch {
		case !filePattern.MatchString(name.Value):
			r.Problem(name, at, "is no path of a file", "write one such as lib/server.mjs, of letters, digits, _, @, - and .")
		case value.Kind != yaml.ScalarNode:
			r.Problem(value, at, "must be a text", "write the file's content here, with | before it")
		default:
			size += len(value.Value)
			all[name.Value] = value.Value
		}
	})
	if len(all) > maxFiles || size > maxFileBytes {
		o.Bad(key, fmt.Sprintf("has more than %d files or %d KB", maxFiles, maxFileBytes>>10), "publish a package, or write a download")
	}
	return all
}

func (r *reader) limits(o registry.Object) limits {
	d := sandbox.Limits{MemoryBytes: 512 * mb, Pids: 64, CPUMillis: 1000, TmpBytes: 64 * mb, StateBytes: 256 * mb}
	l := limits{Memory: d.MemoryBytes, Pids: d.Pids, CPUMillis: d.CPUMillis, Tmp: d.TmpBytes, State: d.StateBytes, Idle: defaultIdle, Start: defaultStart}
	if !o.Has("limits") {
		return l
	}
	lo := r.Object(o.Value("limits"), o.At("limits"), "memory", "pids", "cpu", "tmp", "state", "idle", "start")
	l.Memory = size(lo, "memory", l.Memory, 64*mb, 8<<30)
	l.Pids = lo.Whole("pids", l.Pids, 16, 1024)
	l.CPUMillis = cores(lo, "cpu", l.CPUMillis)
	l.Tmp = size(lo, "tmp", l.Tmp, mb, 4<<30)
	l.State = size(lo, "state", l.State, mb, 64<<30)
	l.Idle = lo.Duration("idle", l.Idle, 10*time.Second, 24*time.Hour)
	l.Start = lo.Duration("start", l.Start, time.Second, 5*time.Minute)
	return l
}

// size is a number of bytes, written such as 512MB.
func size(o registry.Object, key string, def, low, high int64) int64 {
	if !o.Has(key) {
		return def
	}
	m := sizePattern.FindStringSubmatch(o.Text(key))
	if m != nil {
		n, err := strconv.ParseInt(m[1], 10, 64)
		unit := map[string]int64{"KB": 1 << 10, "MB": mb, "GB": 1 << 30}[m[2]]
		if err == nil && n <= math.MaxInt64/unit && n*unit >= low && n*unit <= high {
			return n * unit
		}
	}
	o.Bad(key, "must be a size within its bounds", fmt.Sprintf("write one from %s to %s, such as %s", inUnits(low), inUnits(high), inUnits(def)))
	return def
}

// inUnits writes a size in the largest unit that fits.
func inUnits(n int64) string {
	switch {
	case n%(1<<30) == 0 && n > 0:
		return fmt.Sprintf("%dGB", n>>30)
	case n%mb == 0 && n > 0:
		return fmt.Sprintf("%dMB", n/mb)
	}
	return fmt.Sprintf("%dKB", n>>10)
}

// cores is a part of the machine's cores in thousandths, written such as 0.5.
func cores(o registry.Object, key string, def int) int {
	if !o.Has(key) {
		return def
	}
	v, err := strconv.ParseFloat(o.Text(key), 64)
	if err != nil || !(v >= 0.05 && v <= 64) {
		o.Bad(key, "must be a number of cores", "write one from 0.05 to 64, such as 0.5")
		return def
	}
	return int(v*1000 + 0.5)
}
