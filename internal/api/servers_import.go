package api

import (
	"context"

	registries "latchkey/internal/catalog"
)

// ImportServer implements StrictServerInterface. Whether the kind takes what is
// proposed is said when it is checked or saved.
func (a *API) ImportServer(_ context.Context, r ImportServerRequestObject) (ImportServerResponseObject, error) {
	p, err := registries.Import(r.Body.ServerJson, deref(r.Body.Slug))
	if err != nil {
		return nil, err
	}
	out := ImportProposal{
		Slug: p.Slug, Server: ServerPut{Kind: p.Kind, Title: &p.Title, Description: optional(p.Description)}, ServerYaml: &p.YAML,
		Missing: []ImportMissing{}, Notes: append([]string{}, p.Notes...), Complete: len(p.Missing) == 0,
	}
	if p.Connection != nil {
		out.Server.Connection = &p.Connection
	}
	if p.Spec != nil {
		out.Server.Spec = &p.Spec
	}
	for _, m := range p.Missing {
		missing := ImportMissing{Name: m.Name, Where: m.Where, Secret: m.Secret, Description: optional(m.Description)}
		if len(m.Choices) > 0 {
			missing.Choices = &m.Choices
		}
		out.Missing = append(out.Missing, missing)
	}
	return ImportServer200JSONResponse(out), nil
}
