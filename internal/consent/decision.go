package consent

import (
	"net/url"
	"strconv"
	"time"

	"latchkey/internal/fault"
)

// Bounds of an answer. MaxForm is for http.MaxBytesReader, before ParseForm.
const (
	MaxForm   = 256 << 10
	maxScopes = 1000
	maxScope  = 256
	maxToken  = 2048
	maxFor    = 10 * 365 * 24 * time.Hour
)

// Decision is the answer, as the form says it. Nothing in it is trusted: the
// ticket must be good, and Scopes and For are among what was offered only if
// oauth finds them there.
type Decision struct {
	Ticket string
	Allow  bool
	Scopes []string // what is ticked, each once, in the form's order
	For    time.Duration
}

// ParseDecision reads the form of Render. A cancelled form carries no scopes.
func ParseDecision(form url.Values) (Decision, error) {
	var d Decision
	ticket, err := single(form, "ticket", maxToken)
	if err != nil {
		return d, err
	}
	answer, err := single(form, "answer", 16)
	if err != nil {
		return d, err
	}
	d.Ticket = ticket
	switch answer {
	case "cancel":
		return d, nil
	case "allow":
		d.Allow = true
	default:
		return Decision{}, unreadable("answer", "it is neither allow nor cancel")
	}
	length, err := single(form, "for", 12)
	if err != nil {
		return Decision{}, err
	}
	n, err := strconv.ParseUint(length, 10, 40)
	if err != nil || time.Duration(n) > maxFor/time.Second {
		return Decision{}, unreadable("for", "it is not a number of seconds")
	}
	d.For = time.Duration(n) * time.Second
	if len(form["scope"]) > maxScopes {
		return Decision{}, unreadable("scope", "there are too many")
	}
	seen := map[string]bool{}
	for _, s := range form["scope"] {
		if !scopeToken(s) {
			return Decision{}, unreadable("scope", "one is not a scope")
		}
		if !seen[s] {
			seen[s] = true
			d.Scopes = append(d.Scopes, s)
		}
	}
	return d, nil
}

// Revocation is the form of Connections.
type Revocation struct{ Grant, Token string }

// ParseRevocation reads it.
func ParseRevocation(form url.Values) (r Revocation, err error) {
	if r.Grant, err = single(form, "grant", 128); err != nil {
		return r, err
	}
	r.Token, err = single(form, "token", maxToken)
	return r, err
}

func single(form url.Values, name string, max int) (string, error) {
	v := form[name]
	switch {
	case len(v) == 0 || v[0] == "":
		return "", unreadable(name, "it is missing")
	case len(v) > 1:
		return "", unreadable(name, "it is given more than once")
	case len(v[0]) > max:
		return "", unreadable(name, "it is too long")
	}
	return v[0], nil
}

// scopeToken is RFC 6749 section 3.3: printable ASCII but space, " and \.
func scopeToken(s string) bool {
	if s == "" || len(s) > maxScope {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func unreadable(field, reason string) error {
	return fault.New(fault.InvalidRequest, "This form cannot be used. Go back to the app and connect again.").
		WithDetails(fault.Detail{Pointer: "/" + field, Reason: reason})
}
