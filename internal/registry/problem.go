package registry

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// Problem is one thing that is wrong with a declared spec, and its remedy.
type Problem struct {
	Line, Column int    // of the node that is wrong, from 1; 0 when unknown
	Path         string // such as servers[0].spec.tools[1].statement
	Reason       string
	Fix          string
}

// ProblemAt places a problem at a YAML node.
func ProblemAt(n *yaml.Node, path, reason, fix string) Problem {
	p := Problem{Path: path, Reason: reason, Fix: fix}
	if n != nil {
		p.Line, p.Column = n.Line, n.Column
	}
	return p
}

// Problems is the error of a spec that cannot be used.
type Problems struct {
	File string
	List []Problem
}

// Error prints one line for each problem: file:line:column: path: what; fix.
func (p *Problems) Error() string {
	var b strings.Builder
	for i, q := range p.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		if p.File != "" {
			b.WriteString(p.File + ":")
		}
		if q.Line > 0 {
			fmt.Fprintf(&b, "%d:%d:", q.Line, q.Column)
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if q.Path != "" {
			b.WriteString(q.Path + ": ")
		}
		b.WriteString(q.Reason)
		if q.Fix != "" {
			b.WriteString("; " + q.Fix)
		}
	}
	return b.String()
}
