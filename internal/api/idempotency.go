package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/tenants"
)

// kept is an answer as it is sealed.
type kept struct {
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

// once runs a POST with an Idempotency-Key one time; a repeat gets the first
// answer. Only what succeeded is kept: after a refusal the same key can be used
// for the corrected request.
func (a *API) once(c echo.Context, r *request, do func() (*held, error)) (*held, error) {
	key := c.Request().Header.Get("Idempotency-Key")
	if key == "" || r.op.method != http.MethodPost {
		return do()
	}
	ctx := c.Request().Context()
	name := idempotency.Name{Caller: string(r.caller.Kind) + ":" + r.caller.ID, Key: key}
	t := r.of()
	hash := requestHash(c.Request(), r.body)
	was, taken, err := a.Changes.ClaimName(ctx, t, name, hash, a.Now())
	switch {
	case err != nil:
		return nil, err
	case taken:
		return a.first(ctx, t, name, do)
	case was.Request != hash:
		return nil, fault.New(fault.KeyReused, "This Idempotency-Key was sent with another request in the last 24 hours. Send a new key with a new request.")
	case !was.Done:
		return nil, fault.New(fault.Busy, "The first request with this Idempotency-Key is still running. Send it again in a second to get its answer.").After(time.Second)
	}
	plain, err := a.Sealer.Open(ctx, sealContext(t, name), was.Sealed)
	if err != nil {
		return nil, err
	}
	var k kept
	if err := json.Unmarshal(plain, &k); err != nil {
		return nil, err
	}
	h := &held{header: k.Header, status: k.Status}
	h.body.Write(k.Body)
	h.header.Set("Idempotent-Replayed", "true")
	return h, nil
}

func (a *API) first(ctx context.Context, t tenants.ID, name idempotency.Name, do func() (*held, error)) (*held, error) {
	h, err := do()
	// What was done must be kept also when its caller is gone by now.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err != nil && !fault.HasCode(err, fault.OutcomeUnknown) {
		if err := a.Changes.DropName(ctx, t, name); err != nil {
			a.Log.WarnContext(ctx, "an idempotency key was not given free; it is after a quarter of an hour", "error", err)
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(kept{h.status, h.header, h.body.Bytes()})
	if err != nil {
		return nil, err
	}
	sealed, err := a.Sealer.Seal(ctx, sealContext(t, name), plain)
	if err == nil {
		err = a.Changes.KeepAnswer(ctx, t, name, sealed)
	}
	if err != nil { // the change is done and stays; only a repeat is not recognized
		a.Log.ErrorContext(ctx, "an answer was not kept for repeats", "error", err)
	}
	return h, nil
}

func sealContext(t tenants.ID, n idempotency.Name) string {
	return "api answer " + string(t) + " " + n.Caller
}

func requestHash(r *http.Request, body []byte) idempotency.Hash {
	h := sha256.New()
	for _, part := range []string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write(body)
	return idempotency.Hash(h.Sum(nil))
}
