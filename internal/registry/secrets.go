package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"

	"latchkey/internal/secret"
)

// A secret of a connection is written in one of three ways. In a file on disk it
// is referred to, as `{env: NAME}` or `{file: PATH}`; over the API it is sent as
// `{secret: value}`; and what is read back has `{secret: "[set]"}` in its place.
// Sending just what was read back keeps the secret that Vault has.
//
// Kinds see a text with a tag on it, and name a secret by its path in the
// connection, such as admin.password.

// Set stands for a secret that Vault has.
const Set = "[set]"

// Tags of what was referred to. Nobody can write them: ReadYAML takes the tags
// of the writer's own away.
const (
	envTag    = "!env"
	fileTag   = "!file"
	secretTag = "!secret"
)

// Referred reports whether a value was referred to or sent as a secret, and not
// written down where others read it.
func Referred(n *yaml.Node) bool {
	return n != nil && n.Kind == yaml.ScalarNode && (n.Tag == envTag || n.Tag == fileTag || n.Tag == secretTag)
}

// references replaces what refers to a secret by a text with a tag. resolve is
// nil for what came over the API.
func (r *Reader) references(n *yaml.Node, path string, resolve Resolve) {
	if n = Deref(n); n == nil {
		return
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[1].Kind == yaml.ScalarNode {
		from, name := n.Content[0].Value, n.Content[1].Value
		switch {
		case from == "secret" && resolve != nil && name != Set:
			r.Problem(n, path, "is written in the file", "write {env: NAME} or {file: PATH}; secrets do not belong into files that are shared")
			return
		case from == "secret":
			if n.Content[1].Tag == nullTag {
				name = ""
			}
			*n = yaml.Node{Kind: yaml.ScalarNode, Tag: secretTag, Value: name, Line: n.Line, Column: n.Column}
			return
		case (from == "env" || from == "file") && resolve == nil:
			r.Problem(n, path, "refers to something on the sender's machine", "`platform apply` resolves references before it sends a file; elsewhere write {secret: value}")
			return
		case from == "env" || from == "file":
			value, err := resolve(from, name)
			if err != nil {
				r.Problem(n, path, err.Error(), "set it, or write the value here if it is no secret")
				return
			}
			*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!" + from, Value: value, Line: n.Line, Column: n.Column}
			return
		}
	}
	for i, c := range n.Content {
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
		case n.Kind == yaml.MappingNode:
			r.references(c, joined(path, n.Content[i-1].Value), resolve)
		default:
			r.references(c, entry(path, i), resolve)
		}
	}
}

// Connection is a declared connection that a kind has checked.
type Connection struct {
	Normalized json.RawMessage
	Declared   json.RawMessage // with placeholders for secrets
	PerUser    bool
	Secrets    map[string]secret.Text
	// Kept names the secrets that are to stay as they are at Vault.
	Kept []string
}

// CheckConnection reads a connection, whose node it changes: references are
// replaced by what they stand for. Paths of problems begin at `connection`.
func CheckConnection(kinds Kinds, kind string, n *yaml.Node, resolve Resolve) (c Connection, problems []Problem) {
	r := &Reader{}
	if r.references(n, "connection", resolve); len(r.Problems) > 0 {
		return c, r.Problems
	}
	if c.Normalized, c.Secrets, problems = kinds.CheckConnection(kind, n); len(problems) > 0 {
		return c, problems
	}
	if n == nil {
		return c, nil
	}
	names := make([]string, 0, len(c.Secrets))
	for name, value := range c.Secrets {
		names = append(names, name)
		if value.Reveal() == Set {
			c.Kept = append(c.Kept, name)
		}
	}
	slices.Sort(names)
	slices.Sort(c.Kept)
	if len(c.Kept) > 0 && len(c.Kept) < len(names) {
		return c, []Problem{ProblemAt(n, "connection", "gives some of its secrets and keeps others", "send all of them, or none")}
	}
	masked := mask(n, "", names)
	if p := plainlySecret(r, masked, "connection"); len(p) > 0 {
		return c, p
	}
	c.Declared = JSONOf(masked)
	var common struct {
		Credentials struct {
			PerUser bool `json:"per_user"`
		} `json:"credentials"`
	}
	c.PerUser = json.Unmarshal(c.Normalized, &common) == nil && common.Credentials.PerUser
	return c, nil
}

// SecretNames of the connection, sorted.
func (c *Connection) SecretNames() []string {
	names := []string{}
	for name := range c.Secrets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// mask copies a connection with placeholders where its secrets are.
func mask(n *yaml.Node, path string, names []string) *yaml.Node {
	if path != "" && slices.Contains(names, path) {
		return placeholder(n)
	}
	c := *n
	c.Content = slices.Clone(n.Content)
	for i := range c.Content {
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
		case n.Kind == yaml.MappingNode:
			c.Content[i] = mask(n.Content[i], joined(path, n.Content[i-1].Value), names)
		default:
			c.Content[i] = mask(n.Content[i], entry(path, i), names)
		}
	}
	return &c
}

// joined and entry make the paths of problems and secrets.
func joined(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func entry(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func placeholder(at *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: mapTag, Line: at.Line, Column: at.Column, Content: []*yaml.Node{
		{Kind: yaml.ScalarNode, Tag: textTag, Value: "secret"}, {Kind: yaml.ScalarNode, Tag: textTag, Value: Set}}}
}

// plainlySecret finds what was sent as a secret to a place where none is kept,
// and would stand where everybody reads it.
func plainlySecret(r *Reader, n *yaml.Node, path string) []Problem {
	if n.Kind == yaml.ScalarNode && n.Tag == secretTag {
		r.Problem(n, path, "is no secret here, and would be stored in plain", "write the value itself if it is none")
	}
	for i, c := range n.Content {
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
		case n.Kind == yaml.MappingNode:
			plainlySecret(r, c, joined(path, n.Content[i-1].Value))
		default:
			plainlySecret(r, c, entry(path, i))
		}
	}
	return r.Problems
}

// keeps decides what becomes of a connection whose secrets are to stay: it must
// be the very one that they were given for. To send a password to another host
// because somebody changed the host is what an attacker would ask for.
func (c *Connection) keeps(before Server) (keep bool, reason, fix string) {
	switch {
	case len(c.Kept) == 0:
		return false, "", ""
	case !slices.Equal(before.SecretsSet, c.SecretNames()):
		return false, "Vault has no secret here that could be kept", "write {secret: value}, or {env: NAME} in a file"
	case !sameJSON(before.Connection, c.Normalized):
		return false, "the connection changes, and its secret is not sent to another one unasked", "give the secret again: {secret: value}, or {env: NAME} in a file"
	}
	return true, "", ""
}

// sameJSON compares values, whatever the order of their keys.
func sameJSON(a, b json.RawMessage) bool {
	read := func(raw json.RawMessage) []byte {
		if len(raw) == 0 {
			return []byte(`{}`)
		}
		var v any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if d.Decode(&v) != nil {
			return raw
		}
		out, err := json.Marshal(v)
		if err != nil {
			return raw
		}
		return out
	}
	return bytes.Equal(read(a), read(b))
}
