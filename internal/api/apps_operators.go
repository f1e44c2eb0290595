package api

import (
	"context"
	"time"

	"latchkey/internal/callers"
)

func operatorOf(o callers.Operator) Operator {
	return Operator{
		Email: o.Email, Name: o.Name, Disabled: o.Disabled, HasPassword: o.HasPassword, CreatedAt: o.CreatedAt.UTC(), LastSeenAt: optionalTime(o.LastSeenAt),
	}
}

// ListOperators lists who runs the platform.
func (a *API) ListOperators(ctx context.Context, _ ListOperatorsRequestObject) (ListOperatorsResponseObject, error) {
	all, err := a.Apps.Operators.Operators(ctx)
	if err != nil {
		return nil, err
	}
	list := OperatorList{Data: make([]Operator, 0, len(all))}
	for _, o := range all {
		list.Data = append(list.Data, operatorOf(o))
	}
	return ListOperators200JSONResponse(list), nil
}

// PutOperator creates or replaces one by address.
func (a *API) PutOperator(ctx context.Context, in PutOperatorRequestObject) (PutOperatorResponseObject, error) {
	o, err := a.Apps.Operators.PutOperator(ctx, callers.Operator{
		Email: lower(in.Operator), Name: in.Body.Name, Disabled: deref(in.Body.Disabled), CreatedAt: a.Now().UTC().Truncate(time.Microsecond),
	})
	if err != nil {
		return nil, err
	}
	return PutOperator200JSONResponse(operatorOf(o)), nil
}

// DeleteOperator removes one; the last one stays.
func (a *API) DeleteOperator(ctx context.Context, in DeleteOperatorRequestObject) (DeleteOperatorResponseObject, error) {
	if err := a.Apps.Operators.DeleteOperator(ctx, lower(in.Operator)); err != nil {
		return nil, absent(err)
	}
	return DeleteOperator204Response{}, nil
}

// ListOperatorKeys lists the keys of operators' scripts, newest first.
func (a *API) ListOperatorKeys(ctx context.Context, _ ListOperatorKeysRequestObject) (ListOperatorKeysResponseObject, error) {
	all, err := a.Apps.Operators.OperatorKeys(ctx)
	if err != nil {
		return nil, err
	}
	page := APIKeyPage{Data: make([]APIKey, 0, len(all))}
	for _, k := range all {
		page.Data = append(page.Data, keyOf(k))
	}
	return ListOperatorKeys200JSONResponse(page), nil
}

// CreateOperatorKey makes a key that does what an operator can.
func (a *API) CreateOperatorKey(ctx context.Context, in CreateOperatorKeyRequestObject) (CreateOperatorKeyResponseObject, error) {
	k, secret := callers.NewOperatorKey(a.newKeyFrom(ctx, in.Body.Name, in.Body.ExpiresInDays))
	if err := a.Apps.Operators.CreateOperatorKey(ctx, k); err != nil {
		return nil, err
	}
	return CreateOperatorKey201JSONResponse(APIKeyCreated{Key: keyOf(k), Secret: secret}), nil
}

// RevokeOperatorKey ends a key, and with it the tokens that were got with it.
func (a *API) RevokeOperatorKey(ctx context.Context, in RevokeOperatorKeyRequestObject) (RevokeOperatorKeyResponseObject, error) {
	if err := a.Apps.Operators.RevokeOperatorKey(ctx, in.Key, a.Now()); err != nil {
		return nil, absent(err)
	}
	return RevokeOperatorKey204Response{}, nil
}
