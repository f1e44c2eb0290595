package health

import (
	"slices"
	"strings"

	"latchkey/internal/registry"
)

// Together is how a server is that is nothing but others, by their slugs: a toolset.
// It is unhealthy when all of them are, and degraded when one is not well. down are
// those whose calls are refused. Of servers that nobody probes, nothing is known,
// and nothing said.
func (s Set) Together(of map[string]registry.ServerID) (all Record, down []string) {
	all.State = Unknown
	known, ill := 0, []string(nil)
	for slug, id := range of {
		r := s.Of(id)
		if r.State == Unknown {
			continue
		}
		known++
		switch r.State {
		case Unhealthy:
			down = append(down, slug)
			fallthrough
		case Degraded:
			ill = append(ill, slug)
			all.Failures = max(all.Failures, r.Failures)
			if r.Failed.After(all.Failed) {
				all.Failed, all.Code = r.Failed, r.Code
			}
			if r.Next.After(all.Next) {
				all.Next = r.Next
			}
		}
		if r.Since.After(all.Since) {
			all.Since = r.Since
		}
		if r.Checked.After(all.Checked) {
			all.Checked = r.Checked
		}
	}
	slices.Sort(down)
	slices.Sort(ill)
	switch {
	case known == 0:
		return all, nil
	case len(down) > 0 && len(down) == known:
		all.State = Unhealthy
	case len(ill) > 0:
		all.State = Degraded
	default:
		all.State = Healthy
	}
	if len(ill) > 0 {
		all.Message = "Not well: " + strings.Join(ill, ", ") + "."
	}
	return all, down
}
