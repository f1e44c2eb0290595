package api

import (
	"context"
	"time"

	openapi_types "github.com/oapi-codegen/runtime/types"

	"latchkey/internal/registry"
)

func showDeprecation(d *registry.Deprecation) *Deprecation {
	if d == nil {
		return nil
	}
	out := &Deprecation{Sunset: openapi_types.Date{Time: d.Sunset.Time()}, Gone: d.Gone(time.Now()), Successor: optional(d.Successor), Message: optional(d.Message)}
	if d.Since != "" {
		out.Since = &openapi_types.Date{Time: d.Since.Time()}
	}
	return out
}

func (a *API) ListDeprecations(context.Context, ListDeprecationsRequestObject) (ListDeprecationsResponseObject, error) {
	return nil, notFound()
}
