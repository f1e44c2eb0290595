package switches

import (
	"fmt"
	"strings"
	"unicode"

	"latchkey/internal/tenants"
)

// Kind is what kind of thing is switched off.
type Kind string

const (
	Platform Kind = "platform"
	Tenant   Kind = "tenant"
	Member   Kind = "member"
	Client   Kind = "client"
	Server   Kind = "server"
	Tool     Kind = "tool"
)

// Kinds lists them, the widest first.
var Kinds = []Kind{Platform, Tenant, Member, Client, Server, Tool}

// Target is what is switched off. Servers and tools are named, not referred
// to: one that does not exist yet can be off before it does, and what comes back
// under its name is off still.
type Target struct {
	Kind   Kind
	Server string // slug; of a server or a tool
	Tool   string
	Member tenants.UserID
	Client string // its id
}

// MaxTarget bounds the text of a target, in bytes. A client's id is a URL of up
// to 512.
const MaxTarget = 600

// ParseTarget reads what String wrote. Of a member it may be the address too,
// which whoever knows the tenant's people has to resolve: see Address.
func ParseTarget(text string) (Target, error) {
	if len(text) > MaxTarget {
		return Target{}, fmt.Errorf("is longer than %d bytes", MaxTarget)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return Target{}, fmt.Errorf("has control characters in it, or is not UTF-8")
	}
	kind, name, named := strings.Cut(text, ":")
	t := Target{Kind: Kind(kind)}
	if strings.TrimSpace(name) != name {
		return Target{}, fmt.Errorf("has a space at an end of its name")
	}
	switch t.Kind {
	case Platform, Tenant:
		if named {
			return Target{}, fmt.Errorf("must be %s alone", kind)
		}
		return t, nil
	case Server:
		t.Server = name
	case Tool:
		t.Server, t.Tool, _ = strings.Cut(name, "/")
		if t.Tool == "" || len(t.Tool) > 128 {
			return Target{}, fmt.Errorf("does not name a tool: write tool:server/tool")
		}
	case Member:
		t.Member = tenants.UserID(name)
	case Client:
		t.Client = name
	default:
		return Target{}, fmt.Errorf("is not known: write tenant, server:slug, tool:slug/tool, member:address or client:id")
	}
	if name == "" {
		return Target{}, fmt.Errorf("does not say which %s", kind)
	}
	if t.Kind == Server || t.Kind == Tool {
		if err := tenants.ValidSlug(t.Server); err != nil {
			return Target{}, err
		}
	}
	return t, nil
}

// String is how a target is written: `tool:incidents/create_incident_ticket`.
func (t Target) String() string {
	switch t.Kind {
	case Server:
		return "server:" + t.Server
	case Tool:
		return "tool:" + t.Server + "/" + t.Tool
	case Member:
		return "member:" + string(t.Member)
	case Client:
		return "client:" + t.Client
	}
	return string(t.Kind)
}

// Address is the one that stands for a member's id, or empty.
func (t Target) Address() string {
	if t.Kind == Member && strings.Contains(string(t.Member), "@") {
		return strings.ToLower(string(t.Member))
	}
	return ""
}

// subject begins a sentence to a caller.
func (t Target) subject() string {
	switch t.Kind {
	case Tool:
		return t.Tool + " is"
	case Server:
		return "The server " + t.Server + " is"
	case Member:
		return "Tool calls of this account are"
	case Client:
		return "This app is"
	}
	return "Every tool call is"
}
