// Package consent shows a person what an app asks for, and reads the answer.
//
// It renders and parses, and decides nothing: which scopes are open to the
// person, whether a ticket is good and what is granted belongs to oauth, which
// holds every answer against policy again.
package consent

import (
	"embed"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"latchkey/internal/pages"
	"latchkey/internal/registry"
)

//go:embed consent.html error.html connections.html return.html parts.html
var files embed.FS

var consentView = pages.Parse(files, "consent.html", "parts.html")

// Page is the question. All texts of servers and clients are taken as they
// come: they are cleaned, capped and escaped here.
type Page struct {
	Base   string // the tenant's base URL; the form goes to Base + /consent
	Tenant string // its name
	User   string // who is asked: an email address
	NotYou string // where to sign in as somebody else

	Client    Client
	Server    Server
	Durations []Duration
	// Before is when the person last allowed this client something on this
	// server; zero if never. Then scopes that are not Allowed are marked new.
	Before time.Time
	Ticket string // binds the answer; comes back in Decision
	// Problem is said above the tools when the page is shown again.
	Problem string
}

// Client is the app that asks.
type Client struct {
	Name        string // chosen by the app itself
	PublishedBy string // host of its metadata document; empty if it registered itself
	Redirect    string // the redirect URI that the answer goes to
}

// Server is what the app wants to use.
type Server struct {
	Title  string
	URL    string // the resource identifier
	Scopes []Scope
	// Hidden is how many more tools there are that the person's roles do not
	// open.
	Hidden int
}

// Scope is one tick, with everything that it opens.
type Scope struct {
	Name      string
	Tools     []Tool
	Resources []string // titles or names
	Prompts   []string
	Allowed   bool // the person allowed it to this client before
}

// Tool of a scope.
type Tool struct {
	Name        string
	Title       string
	Description string
	Risk        registry.Risk // anything unknown counts as destructive
	Approval    bool          // a call may have to be approved by somebody else
}

// Duration is a choice of how long the permission lasts. Zero is until it is
// revoked.
type Duration struct {
	For      time.Duration
	Label    string // empty: written from For
	Selected bool
}

// Render writes the page. Its policy lets the answer redirect to
// Client.Redirect.
func Render(w http.ResponseWriter, status int, p Page) {
	consentView.Render(w, pages.Response{Status: status, FormAction: pages.FormAction(p.Client.Redirect)},
		pages.Frame{
			Base: p.Base, Tenant: p.Tenant, User: p.User, NotYou: p.NotYou,
			Title: "Allow " + pages.Text(p.Client.Name, 80) + " to use " + pages.Text(p.Server.Title, 80) + "? · " + pages.Text(p.Tenant, 80),
		}, newView(p))
}

// view is the page as the template sees it.
type view struct {
	Page
	To        destination
	Groups    []group
	Offered   int // scopes
	New       int // tools that were not allowed before
	Known     int // tools that were
	Choices   []choice
	HasBefore bool
}

type group struct {
	Risk        registry.Risk
	Label, Help string
	Scopes      []scopeView
}

type scopeView struct {
	Scope
	ID     string // of the tick box
	Single bool   // opens one tool and nothing else
	Ticked bool
	New    bool
	Covers string // 2 tools, 1 resource
	First  []toolView
	More   []toolView
}

type toolView struct {
	Tool
	Milder string // this tool alone would be in a milder group
}

type choice struct {
	Value, Label string
	Selected     bool
}

// shown is how many tools of one scope stand in the open; the rest can be
// folded out.
const shown = 6

var groupsInOrder = []group{
	{Risk: registry.Reads, Label: "Reads", Help: "Looks things up and changes nothing."},
	{Risk: registry.Writes, Label: "Changes", Help: "Changes things in a way that can be undone."},
	{Risk: registry.Destructive, Label: "Cannot be undone", Help: "Deletes, sends or pays. Tick only what you mean."},
}

var milder = [...]string{"only reads", "can be undone"}

func newView(p Page) view {
	v := view{Page: p, To: destinationOf(p.Client.Redirect), HasBefore: !p.Before.IsZero()}
	v.Groups = append(v.Groups, groupsInOrder...)
	for i, s := range p.Server.Scopes {
		at := severity(s)
		sv := scopeView{
			Scope: s, ID: fmt.Sprintf("scope-%d", i),
			Single: len(s.Tools) == 1 && len(s.Resources)+len(s.Prompts) == 0,
			Ticked: s.Allowed || at == 0,
			New:    v.HasBefore && !s.Allowed,
			Covers: covers(s),
		}
		for _, t := range worstFirst(s.Tools) {
			tv := toolView{Tool: t}
			if n := rank(t.Risk); n < at {
				tv.Milder = milder[n]
			}
			if len(sv.First) < shown {
				sv.First = append(sv.First, tv)
			} else {
				sv.More = append(sv.More, tv)
			}
		}
		if s.Allowed {
			v.Known += len(s.Tools)
		} else {
			v.New += len(s.Tools)
		}
		v.Groups[at].Scopes = append(v.Groups[at].Scopes, sv)
		v.Offered++
	}
	for i, d := range p.Durations {
		c := choice{Value: fmt.Sprint(int64(d.For / time.Second)), Label: d.Label, Selected: d.Selected}
		if c.Label == "" {
			c.Label = span(d.For)
		}
		if i == 0 && !anySelected(p.Durations) {
			c.Selected = true
		}
		v.Choices = append(v.Choices, c)
	}
	return v
}

func anySelected(ds []Duration) bool {
	for _, d := range ds {
		if d.Selected {
			return true
		}
	}
	return false
}

func rank(r registry.Risk) int {
	switch r {
	case registry.Reads:
		return 0
	case registry.Writes:
		return 1
	}
	return 2
}

// severity of a scope is its worst tool's. Resources and prompts only read.
func severity(s Scope) int {
	worst := 0
	for _, t := range s.Tools {
		worst = max(worst, rank(t.Risk))
	}
	return worst
}

// worstFirst keeps what matters most from being folded away.
func worstFirst(tools []Tool) []Tool {
	tools = slices.Clone(tools)
	slices.SortStableFunc(tools, func(a, b Tool) int { return rank(b.Risk) - rank(a.Risk) })
	return tools
}

func covers(s Scope) string {
	var parts []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(len(s.Tools), "tool", "tools")
	add(len(s.Resources), "resource", "resources")
	add(len(s.Prompts), "prompt", "prompts")
	if n := len(parts); n > 1 {
		return strings.Join(parts[:n-1], ", ") + " and " + parts[n-1]
	}
	return strings.Join(parts, "")
}

func span(d time.Duration) string {
	unit := func(n int64, name string) string {
		if n == 1 {
			return "1 " + name
		}
		return fmt.Sprintf("%d %ss", n, name)
	}
	switch {
	case d <= 0:
		return "Until I revoke it"
	case d%(24*time.Hour) == 0:
		return unit(int64(d/(24*time.Hour)), "day")
	case d%time.Hour == 0:
		return unit(int64(d/time.Hour), "hour")
	}
	return unit(max(1, int64(d/time.Minute)), "minute")
}

// destination is where an answer goes, in words.
type destination struct {
	Host   string // what to show large
	URI    string
	Local  bool   // a port of this computer
	App    bool   // an app's own scheme
	Scheme string // of the app, as in links: cursor://
}

func destinationOf(redirect string) destination {
	u, err := url.Parse(redirect)
	if err != nil {
		return destination{Host: "an address that cannot be read", URI: redirect}
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return destination{Host: "the app for " + u.Scheme + ":// links on this computer", URI: redirect, App: true, Scheme: u.Scheme + "://"}
	case loopback(u.Hostname()):
		return destination{Host: u.Host + " on this computer", URI: redirect, Local: true}
	}
	return destination{Host: pages.Host(u.Host), URI: redirect}
}

func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && (a.Unmap().IsLoopback() || a.IsUnspecified())
}
