package console

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"latchkey/internal/pages"
	"latchkey/internal/site"
)

// bundle is what Vite built, in memory: a few megabytes.
type bundle struct {
	index string // empty: not built
	files map[string]*file
}

// file is an asset in the forms that it was built in.
type file struct {
	contentType string
	plain       []byte
	encoded     map[string][]byte // by content coding
}

// codings that the build precompresses into, the better first.
var codings = []struct{ name, suffix string }{{"br", ".br"}, {"gzip", ".gz"}}

// assetTypes are what an asset can be. A path with another ending, such as a
// tool's name with a dot, is a page of the console's.
var assetTypes = map[string]string{
	".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8",
	".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".ico": "image/x-icon",
	".woff2": "font/woff2", ".woff": "font/woff", ".json": "application/json", ".map": "application/json", ".webmanifest": "application/manifest+json",
	".txt": "text/plain; charset=utf-8", ".xml": "application/xml", ".wasm": "application/wasm", ".br": "", ".gz": "",
}

const indexFile = "index.html"

func loadBundle(fsys fs.FS) (*bundle, error) {
	b := &bundle{files: map[string]*file{}}
	var compressed []string
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(path.Base(name), ".") {
			return err
		}
		if ext := path.Ext(name); ext == ".br" || ext == ".gz" {
			compressed = append(compressed, name)
			return nil
		}
		body, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		if name == indexFile {
			b.index = string(body)
			return nil
		}
		ct := assetTypes[path.Ext(name)]
		if ct == "" {
			ct = mime.TypeByExtension(path.Ext(name))
		}
		if ct == "" {
			ct = "application/octet-stream"
		}
		b.files[name] = &file{contentType: ct, plain: body, encoded: map[string][]byte{}}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("console: read what was built: %w", err)
	}
	for _, name := range compressed {
		for _, coding := range codings {
			f := b.files[strings.TrimSuffix(name, coding.suffix)]
			if f == nil || path.Ext(name) != coding.suffix {
				continue
			}
			if f.encoded[coding.name], err = fs.ReadFile(fsys, name); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// serve answers for a file of the console, or with its page: where a person is
// in the console stands in the path, which only the page's script reads.
func (s *Console) serve(c echo.Context, b boot) error {
	name := strings.TrimPrefix(c.Param("*"), "/")
	if f := s.bundle.files[name]; f != nil {
		return s.asset(c, name, f)
	}
	_, asset := assetTypes[path.Ext(name)]
	if (asset || strings.HasPrefix(name, "assets/")) && name != indexFile {
		h := c.Response().Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		return c.String(http.StatusNotFound, "The console has no such file. Reload the page: a newer version may be served by now.\n")
	}
	return s.page(c, b)
}

// asset sends a file. Names under assets/ hold a hash of what is in them.
func (s *Console) asset(c echo.Context, name string, f *file) error {
	h := c.Response().Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Vary", "Accept-Encoding")
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox") // of an image that is opened by itself
	if strings.HasPrefix(name, "assets/") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "public, max-age=300")
	}
	body := f.plain
	if coding := chooseCoding(c.Request().Header.Values("Accept-Encoding"), f.encoded); coding != "" {
		h.Set("Content-Encoding", coding)
		body = f.encoded[coding]
	}
	return send(c, http.StatusOK, body)
}

func send(c echo.Context, status int, body []byte) error {
	c.Response().Header().Set("Content-Length", strconv.Itoa(len(body)))
	c.Response().WriteHeader(status)
	if c.Request().Method == http.MethodHead {
		return nil
	}
	_, err := c.Response().Write(body)
	return err
}

// chooseCoding picks among those that there are what the client likes best
// (RFC 9110 section 12.5.3); between equals, the smaller. Empty is plain,
// which is sent to who accepts nothing, too.
func chooseCoding(accept []string, have map[string][]byte) string {
	weights := map[string]float64{}
	for _, v := range accept {
		for part := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(part, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "x-gzip" {
				name = "gzip"
			}
			q := 1.0
			if key, value, ok := strings.Cut(strings.ReplaceAll(params, " ", ""), "="); ok && strings.EqualFold(key, "q") {
				n, err := strconv.ParseFloat(value, 64)
				if err != nil || !(n >= 0 && n <= 1) {
					n = 0
				}
				q = n
			}
			if name != "" {
				weights[name] = q
			}
		}
	}
	weight := func(name string) float64 {
		if q, ok := weights[name]; ok {
			return q
		}
		return weights["*"]
	}
	best, bestWeight := "", 0.0
	for _, coding := range codings {
		if q := weight(coding.name); have[coding.name] != nil && q > bestWeight {
			best, bestWeight = coding.name, q
		}
	}
	if q, named := weights["identity"]; named && q > bestWeight {
		return ""
	}
	return best
}

// page sends the index page with what it needs to know. Only a style element
// has a nonce: scripts come from files.
func (s *Console) page(c echo.Context, b boot) error {
	if !s.Built() {
		return s.notBuilt(c, b)
	}
	meta, err := json.Marshal(b)
	if err != nil {
		return err
	}
	nonce := rand.Text()
	text := strings.NewReplacer(
		"__BASE_HREF__", html.EscapeString(b.Console+"/"),
		"__STYLE_NONCE__", nonce,
		"__LATCHKEY__", html.EscapeString(string(meta)),
	).Replace(s.bundle.index)
	h := c.Response().Header()
	pages.Headers(h)
	h.Set("Content-Security-Policy", pagePolicy(nonce))
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Content-Type", "text/html; charset=utf-8")
	return send(c, http.StatusOK, []byte(text))
}

func pagePolicy(nonce string) string {
	return "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-" + nonce + "'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
}

// notBuilt is what a binary shows that was compiled without the console.
func (s *Console) notBuilt(c echo.Context, b boot) error {
	t := site.From(c.Request().Context())
	base := s.Sites.Platform()
	if b.Mode == "tenant" {
		base = s.Sites.Base(t.Slug)
	}
	s.message(c, base, t.Name, http.StatusServiceUnavailable, message{
		Title: "The console was not built",
		What:  "This binary was compiled without it. Run `npm ci` and `npm run build` in web/admin, then build the platform again. The API, sign-in and MCP endpoints work without.",
	})
	return nil
}

// named finds the one cookie of a name. Two of one name are somebody's work,
// on plain http: browsers send the one of the longer path first.
func named(r *http.Request, name string) (string, bool) {
	cs := r.CookiesNamed(name)
	if len(cs) != 1 {
		return "", false
	}
	return cs[0].Value, true
}
