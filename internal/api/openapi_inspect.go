package api

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"latchkey/internal/fault"
	"latchkey/internal/openapi"
)

// InspectOpenAPI implements StrictServerInterface. Nothing is stored or fetched.
func (a *API) InspectOpenAPI(_ context.Context, r InspectOpenAPIRequestObject) (InspectOpenAPIResponseObject, error) {
	doc, err := openapi.Parse([]byte(r.Body.Document))
	if err != nil {
		return nil, inDocument(err)
	}
	out := OpenAPIInspection{Title: doc.Title, Version: doc.Version, Openapi: doc.Dialect, Operations: []OpenAPIOperation{}, Servers: []OpenAPIServer{}, Security: []OpenAPISecurityScheme{}}
	for _, s := range doc.Servers() {
		out.Servers = append(out.Servers, OpenAPIServer{Url: s.URL, Description: optional(s.Description)})
	}
	for _, s := range doc.Security() {
		out.Security = append(out.Security, OpenAPISecurityScheme{Name: s.Name, Type: s.Type, In: optional(s.In), Parameter: optional(s.Parameter),
			Scheme: optional(s.Scheme), TokenUrl: optional(s.TokenURL), Grants: optional(s.Grants), Description: optional(s.Description)})
	}
	all := doc.Operations()
	out.Total = len(all)
	if err := inspectPage(doc, all, r.Body, &out); err != nil {
		return nil, err
	}
	if r.Body.Operations != nil && len(*r.Body.Operations) > 0 {
		p, err := doc.Propose(*r.Body.Operations)
		if err != nil {
			return nil, inDocument(err)
		}
		out.Proposal = &OpenAPIProposal{Notes: append([]string{}, p.Notes...)}
		if out.Proposal.Spec, err = json.Marshal(p.Spec); err != nil {
			return nil, err
		}
		if out.Proposal.Connection, err = json.Marshal(p.Connection); err != nil {
			return nil, err
		}
	}
	return InspectOpenAPI200JSONResponse(out), nil
}

// inspectPage lists the operations that fit the search, from where the page before
// ended. What is wrong with one is looked at for those that are shown.
func inspectPage(doc *openapi.Document, all []openapi.Summary, b *OpenAPIInspect, out *OpenAPIInspection) error {
	from := 0
	if keys, err := readCursor("inspectOpenAPI", b.Cursor, 1); err != nil {
		return err
	} else if keys != nil {
		if from, err = strconv.Atoi(keys[0]); err != nil || from < 0 {
			return fault.New(fault.InvalidRequest, "The cursor is not one of this list.")
		}
	}
	limit := limitOf(b.Limit)
	var page []openapi.Summary
	next := -1
	for i, s := range all {
		if !fits(s, b) {
			continue
		}
		if out.Matched++; i < from {
			continue
		}
		if len(page) < limit {
			page = append(page, s)
		} else if next < 0 {
			next = i
		}
	}
	if next >= 0 {
		out.NextCursor = cursor("inspectOpenAPI", strconv.Itoa(next))
	}
	for _, s := range page {
		o := OpenAPIOperation{Operation: s.Key(), Id: optional(s.ID), Method: s.Method, Path: s.Path, Summary: optional(s.Summary), Tags: append([]string{}, s.Tags...),
			Deprecated: s.Deprecated, Tool: s.Tool, Risk: Risk(openapi.RiskOf(s.Method)), Problems: []string{}, Notes: []string{}}
		if op, err := doc.Operation(s); err != nil {
			o.Problems = append(o.Problems, strings.TrimPrefix(err.Error(), s.Key()+": "))
		} else {
			o.Notes = append(o.Notes, op.Notes...)
		}
		out.Operations = append(out.Operations, o)
	}
	return nil
}

func fits(s openapi.Summary, b *OpenAPIInspect) bool {
	if b.Tag != nil && *b.Tag != "" {
		has := false
		for _, t := range s.Tags {
			has = has || t == *b.Tag
		}
		if !has {
			return false
		}
	}
	if b.Search == nil {
		return true
	}
	text := strings.ToLower(s.ID + " " + s.Key() + " " + s.Summary + " " + strings.Join(s.Tags, " "))
	for word := range strings.FieldsSeq(strings.ToLower(*b.Search)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// inDocument says what is wrong with what was sent.
func inDocument(err error) error {
	f := fault.Of(err)
	if f.Code != fault.InvalidSpec {
		return err
	}
	return f.WithDetails(fault.Detail{Pointer: "/document", Reason: strings.TrimSuffix(f.Message, ".")})
}
