package api

import "context"

func (a *API) ListSwitches(context.Context, ListSwitchesRequestObject) (ListSwitchesResponseObject, error) {
	return nil, notFound()
}

func (a *API) GetSwitch(context.Context, GetSwitchRequestObject) (GetSwitchResponseObject, error) {
	return nil, notFound()
}

func (a *API) PutSwitch(context.Context, PutSwitchRequestObject) (PutSwitchResponseObject, error) {
	return nil, notFound()
}

func (a *API) LiftSwitch(context.Context, LiftSwitchRequestObject) (LiftSwitchResponseObject, error) {
	return nil, notFound()
}

func (a *API) GetPlatformSwitch(context.Context, GetPlatformSwitchRequestObject) (GetPlatformSwitchResponseObject, error) {
	return nil, notFound()
}

func (a *API) PutPlatformSwitch(context.Context, PutPlatformSwitchRequestObject) (PutPlatformSwitchResponseObject, error) {
	return nil, notFound()
}

func (a *API) LiftPlatformSwitch(context.Context, LiftPlatformSwitchRequestObject) (LiftPlatformSwitchResponseObject, error) {
	return nil, notFound()
}
