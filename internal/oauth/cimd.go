package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// A client may be known by a document of its own: its client_id is the
// document's URL (OAuth Client ID Metadata Document). Fetching it means that a
// stranger makes the platform send a request, so that everything about it is
// bounded: the form of the URL, the addresses, the time, the size.
const (
	maxDocument     = 5 << 10
	maxDocumentURL  = 512
	documentTimeout = 5 * time.Second
	// How long a document is kept, whatever it says about caching.
	minDocumentAge     = time.Minute
	defaultDocumentAge = 10 * time.Minute
	maxDocumentAge     = 24 * time.Hour
	documentErrorAge   = 30 * time.Second
	maxDocuments       = 1000
)

// errDocument is all that is said outside: what failed would tell a stranger
// about the networks that the platform can reach.
var errDocument = errors.New("the client's document cannot be used")

// documents fetches and caches clients' documents, for all tenants.
type documents struct {
	loopback bool // development
	now      func() time.Time
	client   *http.Client
	flight   singleflight.Group
	mu       sync.Mutex
	cached   map[string]cachedDocument
}

type cachedDocument struct {
	client Client
	err    error
	until  time.Time
}

func newDocuments(loopback bool, now func() time.Time) *documents {
	d := &documents{loopback: loopback, now: now, cached: map[string]cachedDocument{}}
	d.client = &http.Client{
		Transport: newTransport(outside(loopback)),
		Timeout:   documentTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("redirected")
		},
	}
	return d
}

// isDocument reports whether a client_id means a document. Ids of registered
// clients never look like one.
func isDocument(id string) bool {
	return strings.HasPrefix(id, "https://") || strings.HasPrefix(id, "http://")
}

// validURL checks a client_id that is a URL: https, a host name, a path, and
// nothing that could be written in two ways.
func (d *documents) validURL(raw string) error {
	if len(raw) > maxDocumentURL {
		return errors.New("longer than 512 characters")
	}
	for _, c := range []byte(raw) {
		if c <= ' ' || c >= 0x7f || c == '\\' || c == '#' {
			return errors.New("a character that does not belong into a client_id")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	host := u.Hostname()
	switch {
	case u.User != nil || strings.Contains(u.Host, "@"):
		return errors.New("a user name")
	case u.Scheme == "http" && d.loopback && loopbackHost(host):
	case u.Scheme != "https":
		return errors.New("not https")
	case isLiteral(host) && !(d.loopback && loopbackHost(host)):
		return errors.New("an address instead of a host name")
	case !isLiteral(host) && (!hostPattern.MatchString(host) || host != strings.ToLower(host)):
		return errors.New("not a host name in lower case")
	}
	if u.Path == "" || u.Path == "/" {
		return errors.New("no path")
	}
	for segment := range strings.SplitSeq(u.EscapedPath(), "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil || plain == "." || plain == ".." {
			return errors.New("a dot segment")
		}
	}
	return nil
}

// get returns the client that a document describes. Who asks for the same one
// at once shares a fetch; admit is asked before a fetch and may refuse it.
func (d *documents) get(ctx context.Context, id string, admit func() error) (Client, error) {
	if err := d.validURL(id); err != nil {
		return Client{}, fmt.Errorf("%w: client_id: %w", errDocument, err)
	}
	d.mu.Lock()
	have, ok := d.cached[id]
	d.mu.Unlock()
	if ok && d.now().Before(have.until) {
		return have.client, have.err
	}
	if err := admit(); err != nil {
		return Client{}, err
	}
	got, _, _ := d.flight.Do(id, func() (any, error) {
		// The fetch goes on if this caller leaves: others may share it.
		fetched := d.fetch(context.WithoutCancel(ctx), id)
		d.keep(id, fetched)
		return fetched, nil
	})
	fetched := got.(cachedDocument)
	return fetched.client, fetched.err
}

func (d *documents) keep(id string, c cachedDocument) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if len(d.cached) >= maxDocuments {
		for k, v := range d.cached {
			if !now.Before(v.until) {
				delete(d.cached, k)
			}
		}
		for k := range d.cached {
			if len(d.cached) < maxDocuments {
				break
			}
			delete(d.cached, k)
		}
	}
	d.cached[id] = c
}

func (d *documents) fetch(ctx context.Context, id string) cachedDocument {
	body, age, err := d.load(ctx, id)
	if err == nil {
		var c Client
		if c, err = parseDocument(id, body); err == nil {
			c.CreatedAt = d.now()
			return cachedDocument{client: c, until: d.now().Add(age)}
		}
	}
	return cachedDocument{err: fmt.Errorf("%w: %s: %w", errDocument, id, err), until: d.now().Add(documentErrorAge)}
}

func (d *documents) load(ctx context.Context, id string) ([]byte, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, id, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "Latchkey")
	res, err := d.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("status %d", res.StatusCode)
	}
	if ct, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || ct != "application/json" && !(strings.HasPrefix(ct, "application/") && strings.HasSuffix(ct, "+json")) {
		return nil, 0, errors.New("not JSON by its content type")
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err == nil && len(body) > maxDocument {
		err = errors.New("larger than 5 KB")
	}
	return body, documentAge(res.Header.Get("Cache-Control")), err
}

// documentAge reads Cache-Control within our own bounds.
func documentAge(control string) time.Duration {
	age := defaultDocumentAge
	for directive := range strings.SplitSeq(strings.ToLower(control), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return minDocumentAge
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				age = time.Duration(n) * time.Second
			}
		}
	}
	return min(max(age, minDocumentAge), maxDocumentAge)
}

// parseDocument reads a client's document. Its client_id is the URL that it
// was fetched from, byte for byte: a copy elsewhere describes nobody. A client
// that also has keys, such as ChatGPT's, is taken without: `none`.
func parseDocument(id string, body []byte) (Client, error) {
	var in struct {
		clientMetadata
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := parseMetadata(body, &in); err != nil {
		return Client{}, err
	}
	if in.ID != id {
		return Client{}, errors.New("its client_id is another")
	}
	if in.Secret != "" || strings.HasPrefix(in.AuthMethod, "client_secret_") {
		return Client{}, errors.New("a public document cannot hold a shared secret")
	}
	c := Client{ID: id, Kind: Document, AuthMethod: "none"}
	if err := in.describe(&c); err != nil {
		return Client{}, err
	}
	if c.Name == "" {
		c.Name = documentHost(id)
	}
	return c, nil
}

// documentHost is the host that published a client's document.
func documentHost(id string) string {
	u, err := url.Parse(id)
	if err != nil {
		return ""
	}
	return u.Host
}
