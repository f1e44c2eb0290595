// Package pages is the look of everything Latchkey shows to a person without
// JavaScript: one layout, one stylesheet, the headers of such a page, and the
// cleaning of text that somebody else wrote.
//
// It knows no route and no policy. signin and consent own what their pages say.
package pages

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed layout.html pages.css mark.svg
var files embed.FS

// Frame is what stands around the content of a page.
type Frame struct {
	Base   string // the tenant's base URL; every link starts with it
	Tenant string // its name
	User   string // who is signed in, or empty
	NotYou string // where that can be changed, or empty
	Title  string // of the document
	Narrow bool   // a single short form
}

// View is a parsed page: the layout around a template named "content".
type View struct{ t *template.Template }

// Parse reads the named templates of a package, one of which defines
// "content". It panics on a mistake, which a start or any test shows.
func Parse(fsys fs.FS, names ...string) *View {
	t := template.New("layout.html").Funcs(funcs)
	t = template.Must(t.ParseFS(files, "layout.html"))
	return &View{template.Must(t.ParseFS(fsys, names...))}
}

// Response is how a page is sent.
type Response struct {
	Status int
	// FormAction adds sources to the policy's form-action, which is 'self':
	// Chromium holds it against the redirect that answers a form, too. See
	// FormAction.
	FormAction []string
}

// Render writes the page. Nothing is written before the template has run to
// its end, so that a mistake is a 500 and never half a page.
func (v *View) Render(w http.ResponseWriter, res Response, f Frame, content any) {
	var b bytes.Buffer
	err := v.t.Execute(&b, struct {
		Frame
		Styles, Mark string
		Content      any
	}{f, f.Base + stylesURL, f.Base + markURL, content})
	if err != nil {
		Headers(w.Header())
		http.Error(w, "This page could not be shown. Try again in a minute.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	Headers(h)
	h.Set("Content-Security-Policy", policy(res.FormAction))
	h.Set("Content-Type", "text/html; charset=utf-8")
	if res.Status == 0 {
		res.Status = http.StatusOK
	}
	w.WriteHeader(res.Status)
	w.Write(b.Bytes())
}

func policy(formAction []string) string {
	action := strings.Join(append([]string{"'self'"}, formAction...), " ")
	return "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action " + action + "; frame-ancestors 'none'"
}

// Headers sets what every page and every redirect between pages carries: it
// belongs to one person, to no cache and no frame. Cross-Origin-Opener-Policy
// is not set: it would cut a popup off from the app that opened it to sign in.
func Headers(h http.Header) {
	h.Set("Content-Security-Policy", policy(nil))
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("X-Robots-Tag", "noindex")
}

// Browser reports whether a browser asks for a page, as all of them say since
// 2023. Programs that drive the flow do not: what is done for browsers' sake,
// such as GoOn, is not for them.
func Browser(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Mode") == "navigate" }

// GoOn makes the page that is written next send the browser on by itself. It
// is no redirect: Chromium holds form-action against every redirect that
// follows a form, to the end of the chain, and this ends the chain. The URL
// must be one that a browser may be sent to; see FormAction.
func GoOn(h http.Header, url string) { h.Set("Refresh", "0;url="+url) }

// See redirects with 303, the answer to a form.
func See(w http.ResponseWriter, r *http.Request, url string) {
	Headers(w.Header())
	http.Redirect(w, r, url, http.StatusSeeOther)
}

// AssetPath is where Assets is mounted, below the tenant's base.
const AssetPath = "/assets/pages/"

type asset struct {
	contentType string
	body        []byte
	version     string
}

var (
	assets    = map[string]asset{"pages.css": load("pages.css", "text/css; charset=utf-8"), "mark.svg": load("mark.svg", "image/svg+xml")}
	stylesURL = AssetPath + "pages.css?v=" + assets["pages.css"].version
	markURL   = AssetPath + "mark.svg?v=" + assets["mark.svg"].version
)

func load(name, contentType string) asset {
	body, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(body)
	return asset{contentType, body, hex.EncodeToString(sum[:6])}
}

// Assets serves the stylesheet and the mark. A URL with this build's version
// may be kept for ever; another build's gets this one's file for a minute, so
// that a page survives a rolling update.
func Assets(w http.ResponseWriter, r *http.Request) {
	a, ok := assets[strings.TrimPrefix(r.URL.Path, AssetPath)]
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if !ok {
		http.NotFound(w, r)
		return
	}
	h.Set("Content-Type", a.contentType)
	h.Set("Content-Length", fmt.Sprint(len(a.body)))
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.URL.Query().Get("v") == a.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "public, max-age=60")
	}
	if r.Method != http.MethodHead {
		w.Write(a.body)
	}
}
