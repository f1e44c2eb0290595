// Package packages keeps programs of servers on a worker's machine: packages of
// npm, each at one exact version with every dependency pinned by hash, and files
// that are fetched by address and hash. Nothing of them is run here.
//
// It owns the npm client's use, fetching and unpacking, what is checked of what
// they brought, and the cache. It leaves to its users where a program is run.
//
// No registry is named here: the npm client takes the operator's own.
package packages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"latchkey/internal/egress"
	"latchkey/internal/fault"
)

// Package is what to install.
type Package struct {
	Name    string // such as @modelcontextprotocol/server-filesystem
	Version string // one exact version
	// Integrity of the package's own file, as npm prints it; empty: what the
	// lock says, and without a lock what the registry says.
	Integrity string
	// Lock is a lock file as Installed had it, which pins every dependency.
	// Empty: what the registry gives now.
	Lock json.RawMessage
	// Bin names the program where the package has several.
	Bin string
}

func (p Package) String() string { return p.Name + "@" + p.Version }

func (p Package) called() string { return "package " + p.String() }

// Installed is a program in the cache. Nothing in Dir changes any more.
type Installed struct {
	Dir   string // of the host
	Entry string // what is run, below Dir, with slashes
	// Native: Entry is started as it is. Else Node runs it.
	Native bool
	Lock   json.RawMessage // of a package
}

// Options of a Cache. Zero values of the bounds are their defaults.
type Options struct {
	Dir  string // is made when it is missing
	NPM  string // the client; empty: PATH's
	Node string // the runtime; empty: PATH's
	// Env is the client's environment: PATH, HOME, where the operator's settings
	// of npm are, and such settings and proxies themselves.
	Env []string
	// Egress says where downloads may come from; nil: from public addresses.
	Egress *egress.Policy

	MaxBytes int64         // of one package with its dependencies, or of one download, 400 MB
	MaxFiles int           // 60,000
	MaxTotal int64         // of all that is kept and not in use, on the disk, 20 GB
	Timeout  time.Duration // of one installation, 5 min
	Log      *slog.Logger
}

// Cache is a folder of installed programs. Several processes may use one. It is
// safe for concurrent use.
type Cache struct {
	opts Options

	mu      sync.Mutex
	running map[string]*installing // by key
	failed  map[string]failure
	node    func() (string, error)
	sizes   map[string]int64 // of trees, by folder; of Prune alone
}

// installing is one installation, which any number wait for.
type installing struct {
	done chan struct{}
	got  Installed
	err  error
}

// failure is remembered for a while, so that calls do not hammer a registry.
type failure struct {
	err   *fault.Error
	until time.Time
}

const (
	defaultMaxBytes = 400 << 20
	defaultMaxFiles = 60_000
	defaultMaxTotal = 20 << 30
	defaultTimeout  = 5 * time.Minute
	rememberFailure = 20 * time.Second
	// MaxLock bounds a lock file, which travels with the server's spec.
	MaxLock = 768 << 10
)

// New makes a cache over a folder.
func New(o Options) *Cache {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = defaultMaxFiles
	}
	if o.MaxTotal == 0 {
		o.MaxTotal = defaultMaxTotal
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cache{opts: o, running: map[string]*installing{}, failed: map[string]failure{}, sizes: map[string]int64{}}
	c.node = sync.OnceValues(c.findNode)
	return c
}

var (
	namePattern    = regexp.MustCompile(`^(@[a-z0-9][a-z0-9._~-]{0,99}/)?[a-z0-9][a-z0-9._~-]{0,127}$`)
	versionPattern = regexp.MustCompile(`^\d{1,9}\.\d{1,9}\.\d{1,9}(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?$`)
	hashPattern    = regexp.MustCompile(`^(sha512-[A-Za-z0-9+/]{86}==|sha384-[A-Za-z0-9+/]{64}|sha256-[A-Za-z0-9+/]{43}=)$`)
)

// Parse reads name@version. A range or a tag is no version.
func Parse(s string) (Package, error) {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 {
		return Package{}, errors.New("has no version")
	}
	p := Package{Name: s[:at], Version: s[at+1:]}
	if !namePattern.MatchString(p.Name) || len(p.Name) > 214 {
		return Package{}, fmt.Errorf("%.100q is no package name", p.Name)
	}
	if !versionPattern.MatchString(p.Version) {
		return Package{}, fmt.Errorf("%.60q is not one exact version", p.Version)
	}
	return p, nil
}

// ValidIntegrity reports whether a text is a hash as lock files have them.
func ValidIntegrity(s string) bool { return hashPattern.MatchString(s) }

// key names what was asked for. With a lock that is the content itself.
func (p Package) key() string {
	h := sha256.New()
	for _, part := range []string{p.Name, p.Version, p.Integrity, p.Bin} {
		io.WriteString(h, part)
		h.Write([]byte{0})
	}
	h.Write(canonical(p.Lock))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Find gives a package that is installed already.
func (c *Cache) Find(p Package) (Installed, bool) {
	got, err := c.read(p)
	return got, err == nil
}

// Install gives the package, and installs it if it is not there. That goes on
// when ctx ends: whoever asks next may find it done. Errors but that of ctx are
// *fault.Error, for an administrator's eyes too.
func (c *Cache) Install(ctx context.Context, p Package) (Installed, error) {
	if got, ok := c.Find(p); ok {
		return got, nil
	}
	return c.await(ctx, p, func(ctx context.Context) (Installed, error) { return c.install(ctx, p) })
}

// wanted is something that the cache can be made to have.
type wanted interface {
	key() string
	called() string // for messages
}

// await has something made, and waits for that. Any number wait for the same.
func (c *Cache) await(ctx context.Context, w wanted, bring func(context.Context) (Installed, error)) (Installed, error) {
	if c.opts.Dir == "" {
		return Installed{}, fault.New(fault.NoWorker, "This worker has no place for packages. Ask your administrator to give workers of this pool a cache folder (LATCHKEY_CACHE_DIR).")
	}
	in, err := c.begin(w, bring)
	if err != nil {
		return Installed{}, err
	}
	select {
	case <-in.done:
		return in.got, in.err
	case <-ctx.Done():
		return Installed{}, ctx.Err()
	}
}

func (c *Cache) begin(w wanted, bring func(context.Context) (Installed, error)) (*installing, error) {
	key := w.key()
	c.mu.Lock()
	defer c.mu.Unlock()
	if in, ok := c.running[key]; ok {
		return in, nil
	}
	if f, ok := c.failed[key]; ok {
		if left := time.Until(f.until); left > 0 {
			return nil, f.err.After(max(left, f.err.RetryAfter))
		}
		delete(c.failed, key)
	}
	in := &installing{done: make(chan struct{})}
	c.running[key] = in
	go func() {
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), c.opts.Timeout)
		defer cancel()
		in.got, in.err = bring(ctx)
		c.mu.Lock()
		delete(c.running, key)
		if in.err != nil {
			c.failed[key] = failure{fault.Of(in.err), time.Now().Add(rememberFailure)}
		}
		c.mu.Unlock()
		if in.err != nil {
			c.opts.Log.Warn("not installed", "what", w.called(), "after", time.Since(began).String(), "err", in.err)
		} else {
			c.opts.Log.Info("installed", "what", w.called(), "after", time.Since(began).String())
		}
		close(in.done)
	}()
	return in, nil
}

// The cache has trees, each named after the hash of its lock or of the file that
// was fetched, and for packages notes that say which tree something asked for is.
// Beside them is what the npm client keeps for itself.
const (
	npmTrees      = "npm"
	downloadTrees = "downloads"
	notes         = "npm-asked"
	npmOwn        = "npm-cache"
)

func (c *Cache) tree(lock []byte) string {
	sum := sha256.Sum256(lock)
	return filepath.Join(c.opts.Dir, npmTrees, hex.EncodeToString(sum[:16]))
}

func (c *Cache) notePath(p Package) string {
	return filepath.Join(c.opts.Dir, notes, p.key()+".json")
}

// note is what stands in the cache beside a tree.
type note struct {
	Tree  string `json:"tree"`  // its folder's name
	Entry string `json:"entry"` // below it
}

func (c *Cache) read(p Package) (got Installed, err error) {
	b, err := os.ReadFile(c.notePath(p))
	if err != nil {
		return got, err
	}
	var n note
	if err := json.Unmarshal(b, &n); err != nil || !filepath.IsLocal(n.Tree) || !filepath.IsLocal(n.Entry) {
		return got, errors.New("not a note of this cache")
	}
	got = Installed{Dir: filepath.Join(c.opts.Dir, npmTrees, n.Tree), Entry: n.Entry}
	if _, err := os.Stat(filepath.Join(got.Dir, filepath.FromSlash(n.Entry))); err != nil {
		return got, err
	}
	got.Lock, err = os.ReadFile(filepath.Join(got.Dir, lockFile))
	return got, err
}

func (c *Cache) write(p Package, got Installed) error {
	b, err := json.Marshal(note{Tree: filepath.Base(got.Dir), Entry: got.Entry})
	if err != nil {
		return err
	}
	path := c.notePath(p)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), unwritten)
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
