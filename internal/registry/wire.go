package registry

import (
	"errors"

	"gopkg.in/yaml.v3"
)

// Sent is a file as it goes over the API: references are resolved, secrets are
// written as `{secret: value}`. It is never logged or kept.
type Sent struct {
	Text  string
	lines map[position]position
}

type position struct{ line, column int }

// Send makes the form of a file for the API.
func (f *File) Send() (Sent, error) {
	whole := sendable(f.root, map[*yaml.Node]*FileServer{}, f)
	text, err := encodeYAML(whole)
	if err != nil {
		return Sent{}, err
	}
	back, problems := ReadYAML(text)
	if len(problems) > 0 {
		return Sent{}, &Problems{File: f.Name, List: problems}
	}
	s := Sent{Text: text, lines: map[position]position{}}
	if !s.align(back, whole) {
		return Sent{}, errors.New("registry: a file does not come back as it was written")
	}
	return s, nil
}

// Line gives the place in the file on disk of a place in what was sent.
func (s Sent) Line(line, column int) (int, int) {
	if at, ok := s.lines[position{line, column}]; ok {
		return at.line, at.column
	}
	// Inside of a text of several lines, the text itself is near enough.
	for l := line; l > 0; l-- {
		best := 0
		for p := range s.lines {
			if p.line == l && p.column > best {
				best = p.column
			}
		}
		if best > 0 {
			at := s.lines[position{l, best}]
			return at.line + line - l, max(1, min(column, at.column))
		}
	}
	return 0, 0
}

func (s Sent) align(sent, file *yaml.Node) bool {
	if sent.Kind != file.Kind || len(sent.Content) != len(file.Content) {
		return false
	}
	if file.Line > 0 {
		s.lines[position{sent.Line, sent.Column}] = position{file.Line, file.Column}
	}
	for i := range sent.Content {
		if !s.align(sent.Content[i], file.Content[i]) {
			return false
		}
	}
	return true
}

// sendable copies a file's nodes with its secrets in the form of the API.
func sendable(n *yaml.Node, conns map[*yaml.Node]*FileServer, f *File) *yaml.Node {
	if len(conns) == 0 {
		for i := range f.Servers {
			if s := &f.Servers[i]; s.conn != nil {
				conns[s.conn] = s
			}
		}
	}
	if s := conns[n]; s != nil {
		return withSecrets(n, "", s)
	}
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i := range n.Content {
		c.Content[i] = sendable(n.Content[i], conns, f)
	}
	return &c
}

func withSecrets(n *yaml.Node, path string, s *FileServer) *yaml.Node {
	c := *n
	if n.Kind == yaml.ScalarNode {
		value, secret := s.Connection.Secrets[path]
		if secret {
			c = yaml.Node{Kind: yaml.MappingNode, Tag: mapTag, Line: n.Line, Column: n.Column}
			add(&c, "secret", text(value.Reveal()))
			for _, part := range c.Content {
				part.Line, part.Column = n.Line, n.Column
			}
		} else if Referred(n) {
			c.Tag = textTag
		}
		return &c
	}
	c.Content = make([]*yaml.Node, len(n.Content))
	for i := range n.Content {
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
			c.Content[i] = n.Content[i]
		case n.Kind == yaml.MappingNode:
			c.Content[i] = withSecrets(n.Content[i], joined(path, n.Content[i-1].Value), s)
		default:
			c.Content[i] = withSecrets(n.Content[i], entry(path, i), s)
		}
	}
	return &c
}
