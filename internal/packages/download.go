package packages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"latchkey/internal/egress"
	"latchkey/internal/fault"
)

// Download is a program that is fetched by its address: a file, or an archive
// with it.
type Download struct {
	URL    string
	SHA256 string // of what is at URL, in lower-case hex
	Run    string // the program's path in the archive, with slashes; empty: the file is it
}

const maxRedirects = 5

var sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ValidSHA256 reports whether a text is such a hash.
func ValidSHA256(s string) bool { return sha256Pattern.MatchString(s) }

// ParseURL reads where something is to be fetched from. What is fetched is held
// to its hash; an address that is not encrypted is refused all the same, but in
// a network of one's own, since it tells everybody on the way what runs here.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http" || strings.HasSuffix(u.Path, "/") || u.Path == "":
		return nil, errors.New("is no address of a file")
	case u.User != nil:
		return nil, errors.New("has a name or password in it, which everybody would see who may look at the server")
	case u.Fragment != "":
		return nil, errors.New("has a part after #")
	case u.Scheme == "http" && !egress.OwnNetwork(u.Hostname()):
		return nil, errors.New("is not encrypted")
	}
	return u, nil
}

// file is the name of what is fetched.
func (d Download) file() string {
	u, err := url.Parse(d.URL)
	if err != nil {
		return "program"
	}
	name := strings.Map(func(r rune) rune {
		if r < '!' || r > '~' || strings.ContainsRune(`/\`, r) {
			return '_'
		}
		return r
	}, path.Base(u.Path))
	if name == "." || name == ".." {
		return "program"
	}
	return name[:min(len(name), 100)]
}

func (d Download) called() string { return "download " + d.file() }

// key names what was asked for. The address is part of it: who knows a hash has
// not shown that they may have the file.
func (d Download) key() string {
	sum := sha256.Sum256([]byte(d.URL + "\x00" + d.SHA256 + "\x00" + d.Run))
	return hex.EncodeToString(sum[:16])
}

func (c *Cache) downloadTree(d Download) string {
	return filepath.Join(c.opts.Dir, downloadTrees, d.key())
}

func (d Download) installed(tree string) Installed {
	entry := d.Run
	if entry == "" {
		entry = d.file()
	}
	return Installed{Dir: tree, Entry: entry, Native: !forNode(entry)}
}

// FindDownload gives a download that is there already.
func (c *Cache) FindDownload(d Download) (Installed, bool) {
	got := d.installed(c.downloadTree(d))
	_, err := os.Stat(filepath.Join(got.Dir, filepath.FromSlash(got.Entry)))
	return got, err == nil && c.opts.Dir != ""
}

// Fetch gives the download, and fetches and unpacks it if it is not there. What
// is said of Install is true of it.
func (c *Cache) Fetch(ctx context.Context, d Download) (Installed, error) {
	if got, ok := c.FindDownload(d); ok {
		return got, nil
	}
	return c.await(ctx, d, func(ctx context.Context) (Installed, error) { return c.download(ctx, d) })
}

// download fetches, holds what came to its hash, and only then unpacks it.
func (c *Cache) download(ctx context.Context, d Download) (got Installed, err error) {
	tmp, err := c.scratch(downloadTrees)
	if err != nil {
		return got, err
	}
	defer os.RemoveAll(tmp)
	file := filepath.Join(tmp, ".fetched")
	if err := c.fetchFile(ctx, d, file); err != nil {
		return got, err
	}
	tree := filepath.Join(tmp, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return got, fault.Of(err)
	}
	if err := c.unpack(d, file, tree); err != nil {
		return got, err
	}
	if err := c.checkTree(tree); err != nil {
		return got, broken(d, err.Error()).Because(err)
	}
	got = d.installed(tree)
	if err := makeProgram(d, filepath.Join(tree, filepath.FromSlash(got.Entry))); err != nil {
		return got, err
	}
	got.Dir = c.downloadTree(d)
	return got, settle(tree, got.Dir)
}

// makeProgram has a file that can be run.
func makeProgram(d Download, file string) error {
	st, err := os.Lstat(file)
	if err != nil || !st.Mode().IsRegular() {
		return broken(d, fmt.Sprintf("there is no file %.100q in it; write as run the program's path in the archive", d.Run)).Because(err)
	}
	if err := os.Chmod(file, 0o755); err != nil {
		return fault.Of(err)
	}
	return nil
}

// fetchFile stores what is at the address, if it is what was named.
func (c *Cache) fetchFile(ctx context.Context, d Download, to string) error {
	res, err := c.get(ctx, d)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.Of(err)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(res.Body, c.opts.MaxBytes+1))
	full := f.Close()
	switch is := hex.EncodeToString(sum.Sum(nil)); {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return away(d, "that took too long").Because(err)
	case full != nil || isNoRoom(err):
		return noRoom(d).Because(errors.Join(err, full))
	case err != nil:
		return away(d, "the connection broke").Because(err)
	case n > c.opts.MaxBytes:
		return broken(d, fmt.Sprintf("it has more than %d MB", c.opts.MaxBytes>>20))
	case is != d.SHA256:
		return broken(d, fmt.Sprintf("what is at its address is not what was named: its sha256 begins with %s, not with %s. It was not used. If the file was replaced on purpose, look at it, and write its hash", is[:12], d.SHA256[:min(12, len(d.SHA256))]))
	}
	return nil
}

func noRoom(w wanted) *fault.Error {
	return fault.New(fault.NoWorker, "The worker could not store the %s. Tell the operator to look at the disk of its cache folder.", w.called())
}

// get asks for the file. Each address on the way, and what its name resolves to,
// is held to the operator's policy.
func (c *Cache) get(ctx context.Context, d Download) (*http.Response, error) {
	policy := c.opts.Egress
	if policy == nil {
		policy = &egress.Policy{}
	}
	transport := policy.Transport()
	transport.ResponseHeaderTimeout = 30 * time.Second
	transport.DisableKeepAlives = true
	client := &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return errors.New("redirected too often")
		}
		_, err := ParseURL(r.URL.String())
		return err
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, nil)
	if err != nil {
		return nil, broken(d, "its address cannot be used").Because(err)
	}
	r.Header.Set("User-Agent", "latchkey-worker")
	r.Header.Set("Accept", "application/octet-stream, */*;q=0.8")
	res, err := client.Do(r)
	var asked *url.Error
	switch {
	case errors.Is(err, egress.ErrPrivate):
		return nil, broken(d, "its address is in a network that workers may not reach; ask the operator to allow it (LATCHKEY_EGRESS_ALLOW)").Because(err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, away(d, "that took too long").Because(err)
	case errors.As(err, &asked) && res != nil: // a redirect that is not followed
		res.Body.Close()
		return nil, broken(d, "it is redirected to where nothing is fetched from: "+asked.Err.Error()).Because(err)
	case err != nil:
		return nil, away(d, "its address cannot be reached").Because(err)
	case res.StatusCode == http.StatusOK:
		return res, nil
	}
	res.Body.Close()
	if res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests {
		return nil, away(d, fmt.Sprintf("its address answers with the status %d", res.StatusCode))
	}
	return nil, broken(d, fmt.Sprintf("its address answers with the status %d", res.StatusCode))
}

// Beginnings of files.
var (
	isGzip   = []byte{0x1f, 0x8b}
	isZip    = []byte("PK\x03\x04")
	isOthers = map[string][]byte{"xz": {0xfd, '7', 'z', 'X', 'Z'}, "zstd": {0x28, 0xb5, 0x2f, 0xfd}, "bzip2": []byte("BZh"), "7z": {'7', 'z', 0xbc, 0xaf}}
)

// unpack makes a tree of what was fetched, by what the file is and not by what
// it is called.
func (c *Cache) unpack(d Download, file, tree string) error {
	head := make([]byte, 8)
	f, err := os.Open(file)
	if err != nil {
		return fault.Of(err)
	}
	defer f.Close()
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return broken(d, "it is empty").Because(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fault.Of(err)
	}
	head = head[:n]
	for name, begins := range isOthers {
		if bytes.HasPrefix(head, begins) {
			return broken(d, "it is an archive of "+name+", and only .tar.gz and .zip are unpacked here")
		}
	}
	u := &unpacking{tree: tree, bytes: c.opts.MaxBytes, files: c.opts.MaxFiles}
	switch {
	case bytes.HasPrefix(head, isGzip):
		err = u.tarGz(f)
	case bytes.HasPrefix(head, isZip):
		err = u.zip(f)
	case d.Run != "" && d.Run != d.file():
		return broken(d, "it is one file and no archive; remove run")
	default:
		err = os.Rename(file, filepath.Join(tree, d.file()))
	}
	switch {
	case isNoRoom(err):
		return noRoom(d).Because(err)
	case err != nil:
		return broken(d, err.Error()).Because(err)
	case (bytes.HasPrefix(head, isGzip) || bytes.HasPrefix(head, isZip)) && d.Run == "":
		return broken(d, "it is an archive; write as run the program's path in it")
	}
	return nil
}
