package registry

import (
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"latchkey/internal/tenants"
)

// A tenant's limits in its file: `limits`, which replaces all that the tenant
// sets itself; without the key they stay.

// ReadLimits reads them.
func ReadLimits(r *Reader, n *yaml.Node, path string) (l tenants.Limits) {
	o := r.Object(n, path, "tenant", "user", "session", "tool", "fan_out", "repeats")
	l.Tenant, l.User, l.Session, l.Tool = ReadLimit(o, "tenant"), ReadLimit(o, "user"), ReadLimit(o, "session"), ReadLimit(o, "tool")
	if v := o.Value("fan_out"); v != nil {
		l.FanOut.Calls = bound(o.Object(v, o.At("fan_out"), "calls"), "calls", 1_000_000)
	}
	if v := o.Value("repeats"); v != nil {
		in := o.Object(v, o.At("repeats"), "notice", "refuse")
		l.Repeats = tenants.Repeats{Notice: bound(in, "notice", 1_000_000), Refuse: bound(in, "refuse", 1_000_000)}
		if l.Repeats.Refuse == 1 {
			in.Bad("refuse", "would refuse every call", "write 2 or more, or none")
		}
	}
	return l
}

// limitFields are a tenant's limits as a plan shows them, in order, each as it
// is written in a file.
func limitFields(l tenants.Limits) (fields [][2]string) {
	for _, one := range []struct {
		name  string
		limit tenants.Limit
	}{{"tenant", l.Tenant}, {"user", l.User}, {"session", l.Session}, {"tool", l.Tool}} {
		fields = append(fields,
			[2]string{one.name + ".rate", one.limit.Rate.String()}, [2]string{one.name + ".burst", count(one.limit.Burst)},
			[2]string{one.name + ".concurrency", count(one.limit.Concurrency)}, [2]string{one.name + ".message", one.limit.Message})
	}
	return append(fields, [2]string{"fan_out.calls", count(l.FanOut.Calls)}, [2]string{"repeats.notice", count(l.Repeats.Notice)}, [2]string{"repeats.refuse", count(l.Repeats.Refuse)})
}

func count(n int) string {
	switch n {
	case 0:
		return ""
	case tenants.Unbounded:
		return "none"
	}
	return strconv.Itoa(n)
}

func (p *planner) limits() {
	if p.file.Limits == nil {
		return
	}
	step := Step{Applied: Applied{Verb: "unchanged", What: "limits", Name: p.file.Tenant}, limits: p.file.Limits, rank: rankTenant}
	before, set := limitFields(p.state.Limits), 0
	for i, after := range limitFields(*p.file.Limits) {
		step.Fields = changed(step.Fields, after[0], before[i][1], after[1])
		if after[1] != "" {
			set++
		}
	}
	step.Note = fmt.Sprintf("%d set", set)
	if len(step.Fields) > 0 {
		step.Verb = "updated"
	}
	p.add(step)
}

// limitsNode writes what is set.
func limitsNode(l tenants.Limits) *yaml.Node {
	root := object()
	part := func(name string) *yaml.Node {
		for i := 0; i < len(root.Content); i += 2 {
			if root.Content[i].Value == name {
				return root.Content[i+1]
			}
		}
		o := object()
		o.Style = yaml.FlowStyle
		add(root, name, o)
		return o
	}
	for _, f := range limitFields(l) {
		if f[1] == "" {
			continue
		}
		name, key, _ := strings.Cut(f[0], ".")
		value := text(f[1])
		if _, err := strconv.Atoi(f[1]); err == nil && key != "message" && key != "rate" {
			value.Tag = intTag
		}
		add(part(name), key, value)
	}
	return root
}
