package consent

import (
	"fmt"
	"html/template"
	"net/http"
	"time"

	"latchkey/internal/pages"
	"latchkey/internal/registry"
)

var (
	errorView       = pages.Parse(files, "error.html", "parts.html")
	connectionsView = pages.Parse(files, "connections.html", "parts.html")
	returnView      = pages.Parse(files, "return.html", "parts.html")
)

// ErrorPage says what failed in words for the person, who cannot repair the
// app but can act on Next.
type ErrorPage struct {
	Base, Tenant string
	Title        string
	What         string // happened
	Why          string // it did, if that is known
	Next         string // what to do now
	Steps        []Steps
	Reference    string // a request id to name to an administrator, or an error code
}

// Steps are what to do in one app.
type Steps struct {
	App string
	Do  []string
}

// Error writes the page.
func Error(w http.ResponseWriter, status int, p ErrorPage) {
	title := pages.Text(p.Title, 120)
	if p.Tenant != "" {
		title += " · " + pages.Text(p.Tenant, 80)
	}
	errorView.Render(w, pages.Response{Status: status}, pages.Frame{Base: p.Base, Tenant: p.Tenant, Title: title, Narrow: len(p.Steps) == 0}, p)
}

// UnknownClient is the page for an app that uses a registration that is not
// there: apps keep it after the platform has dropped it, and only a person can
// make them register anew.
func UnknownClient(base, tenant string) ErrorPage {
	return ErrorPage{
		Base: base, Tenant: tenant,
		Title: "This app has to be added again",
		What:  "The app that sent you here uses a registration that " + tenant + " does not know.",
		Why:   "Registrations that were never used are removed after a day, and a registration at one company is not valid at another.",
		Next:  "Remove the server in your app and add it again with the same address. Nothing else is lost.",
		Steps: []Steps{
			{App: "Claude", Do: []string{"Open Settings, then Connectors.", "Remove this connector.", "Choose Add custom connector and enter the address again."}},
			{App: "Claude Code", Do: []string{"Run claude mcp remove with the server's name.", "Run claude mcp add --transport http with the name and the address."}},
			{App: "Cursor", Do: []string{"Open Settings, then Tools & MCP.", "Delete the server and add it again, or restart Cursor after editing mcp.json."}},
			{App: "VS Code", Do: []string{"Run “Authentication: Remove Dynamic Authentication Providers” in the command palette.", "Run “MCP: List Servers”, choose the server and start it."}},
		},
	}
}

// ConnectionsPage is what a person has allowed, to look at and to take back.
type ConnectionsPage struct {
	Base, Tenant, User, NotYou string
	Now                        time.Time
	Connections                []Connection
	Token                      string // comes back in Revocation
	Notice                     string // what has just been done, such as a revocation
	Accounts                   []Account
}

// Account is one of the person's own at an upstream, which they connect on a page
// of its own.
type Account struct {
	Server string // title
	URL    string
	State  string // in words
}

// Connection is one grant.
type Connection struct {
	ID          string
	Client      string // the name that the app chose
	PublishedBy string // host of its metadata document, if it has one
	Server      string // title
	Scopes      []GrantedScope
	Since       time.Time
	LastUsed    time.Time // zero: never
	Expires     time.Time // zero: not until it is revoked
}

// GrantedScope is a scope of a connection.
type GrantedScope struct {
	Name  string
	Title string // of its tool; empty: the name is shown
	Risk  registry.Risk
}

// Connections writes the page. Its forms go to Base + /connections/revoke.
func Connections(w http.ResponseWriter, p ConnectionsPage) {
	type row struct {
		Connection
		Since, LastUsed, Expires moment
		Groups                   []grantedGroup
	}
	v := struct {
		ConnectionsPage
		Rows []row
	}{ConnectionsPage: p}
	for _, c := range p.Connections {
		v.Rows = append(v.Rows, row{c, when(c.Since, p.Now), when(c.LastUsed, p.Now), when(c.Expires, p.Now), grantedGroups(c.Scopes)})
	}
	connectionsView.Render(w, pages.Response{}, pages.Frame{
		Base: p.Base, Tenant: p.Tenant, User: p.User, NotYou: p.NotYou,
		Title: "Your connections · " + pages.Text(p.Tenant, 80),
	}, v)
}

type grantedGroup struct {
	Risk   registry.Risk
	Label  string
	Scopes []GrantedScope
}

func grantedGroups(scopes []GrantedScope) []grantedGroup {
	var out []grantedGroup
	for n, g := range groupsInOrder {
		in := grantedGroup{Risk: g.Risk, Label: g.Label}
		for _, s := range scopes {
			if rank(s.Risk) == n {
				in.Scopes = append(in.Scopes, s)
			}
		}
		if len(in.Scopes) > 0 {
			out = append(out, in)
		}
	}
	return out
}

// moment is a time for people, and for machines.
type moment struct {
	ISO, Date, Ago string
	Never          bool
}

func when(t, now time.Time) moment {
	if t.IsZero() {
		return moment{Never: true}
	}
	t = t.UTC()
	m := moment{ISO: t.Format(time.RFC3339), Date: t.Format("2 January 2006, 15:04 UTC")}
	d, form := now.Sub(t), "%s ago"
	if d < 0 {
		d, form = -d, "in %s"
	}
	switch {
	case d < time.Minute:
		m.Ago = "just now"
		if now.Before(t) {
			m.Ago = "in a moment"
		}
	case d < time.Hour:
		m.Ago = fmt.Sprintf(form, span(d.Truncate(time.Minute)))
	case d < 24*time.Hour:
		m.Ago = fmt.Sprintf(form, span(d.Truncate(time.Hour)))
	default:
		m.Ago = fmt.Sprintf(form, span(d.Truncate(24*time.Hour)))
	}
	return m
}

// ReturnPage goes between an answer and the app it goes to.
type ReturnPage struct {
	Base, Tenant string
	Client       string
	Redirect     string // the redirect URI with the answer in its query
	Allowed      bool
}

// Answer sends the browser to the app: with a plain 303 where that works, and
// otherwise by way of Return. A redirect to an app's own scheme leaves a
// browser on the page it was on, as if nothing had happened. And an app on the
// web may redirect on, such as https://vscode.dev/redirect to vscode://, which
// Chromium holds against the form's form-action too and blocks without a word.
func Answer(w http.ResponseWriter, r *http.Request, p ReturnPage) {
	to := destinationOf(p.Redirect)
	if pages.Browser(r) && (to.App || r.Method == http.MethodPost && !to.Local) {
		Return(w, p)
		return
	}
	pages.See(w, r, p.Redirect)
}

// Return writes a page that sends the browser on by itself and has a link for
// those that do not go. It is no redirect, so that form-action does not apply.
func Return(w http.ResponseWriter, p ReturnPage) {
	v := struct {
		ReturnPage
		To   destination
		Link template.URL
	}{ReturnPage: p, To: destinationOf(p.Redirect)}
	if pages.FormAction(p.Redirect) != nil { // a URL that a browser may be sent to
		v.Link = template.URL(p.Redirect)
		pages.GoOn(w.Header(), p.Redirect)
	}
	returnView.Render(w, pages.Response{}, pages.Frame{
		Base: p.Base, Tenant: p.Tenant, Narrow: true,
		Title: "Back to " + pages.Text(p.Client, 80) + " · " + pages.Text(p.Tenant, 80),
	}, v)
}
