package api

import "context"

func (a *API) GetLimits(context.Context, GetLimitsRequestObject) (GetLimitsResponseObject, error) {
	return nil, notFound()
}

func (a *API) PutLimits(context.Context, PutLimitsRequestObject) (PutLimitsResponseObject, error) {
	return nil, notFound()
}
