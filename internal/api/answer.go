package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// request is one call of an operation on its way through the frame.
type request struct {
	id     string // `rq` and 90 random bits; also of its audit records
	op     *operation
	caller Principal
	tenant tenants.Tenant
	body   []byte
	notes  audit.Notes // for the record of what was done
	end    func()      // where it has something to give back
}

type requestKey struct{}

// answer is the frame around every operation: what it goes through, in order.
func (a *API) answer(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if _, inner := c.Request().Context().Value(requestKey{}).(*request); inner {
			return next(c) // the frame asks itself; see etag.go
		}
		op := a.document.byRoute[c.Request().Method+" "+c.Path()]
		if op == nil { // the document itself, or nothing
			return next(c)
		}
		began := a.Now()
		r := &request{id: c.Response().Header().Get("X-Request-Id"), op: op}
		err := a.admit(c, r)
		if r.end != nil {
			defer r.end()
		}
		if err == nil {
			switch {
			case op.stream:
				err = next(c)
			case op.write():
				err = a.change(c, r, next)
			default:
				err = a.show(c, op, next)
			}
		}
		if err != nil {
			a.writeProblem(c, err)
		}
		a.Observe(Observation{Operation: op.id, Status: c.Response().Status, Took: a.Now().Sub(began)})
		return nil
	}
}

// admit lets a request in: who calls, how often, which tenant, with which
// right, and whether what they sent is of the document's form.
func (a *API) admit(c echo.Context, r *request) (err error) {
	c.Response().Header().Set("Cache-Control", "no-store")
	c.Response().Header().Set("X-Content-Type-Options", "nosniff")
	if r.caller, err = a.Authenticate(c.Request()); err != nil {
		return err
	}
	if err := a.rates.take(r.caller); err != nil {
		return err
	}
	if err := a.findTenant(c, r); err != nil {
		return err
	}
	if err := r.allowed(); err != nil {
		return a.recordRefusal(c.Request().Context(), r, err)
	}
	most := int64(maxBody)
	if n := c.Request().ContentLength; r.op.large && (n < 0 || n > maxBody) {
		most = maxLargeBody
		var ok bool
		if r.end, ok = a.large.begin(r.of()); !ok {
			return fault.New(fault.Busy, "Other large documents are being read. Nothing was done; send this one again in a few seconds.").After(3 * time.Second)
		}
	}
	if r.body, err = readBody(c, most); err != nil {
		return err
	}
	if err := a.validate(c, r); err != nil {
		return a.recordRefusal(c.Request().Context(), r, err)
	}
	ctx := context.WithValue(c.Request().Context(), requestKey{}, r)
	ctx = context.WithValue(ctx, callerKey{}, r.caller)
	ctx = context.WithValue(ctx, tenantKey{}, r.tenant)
	c.SetRequest(c.Request().WithContext(ctx))
	return nil
}

// findTenant resolves the tenant of the path. One that the caller is not of
// answers as one that does not exist; below a tenant's base there is no other.
func (a *API) findTenant(c echo.Context, r *request) error {
	if !r.op.ofTenant {
		r.tenant = r.caller.Tenant
		return nil
	}
	slug, err := url.PathUnescape(c.Param("tenant"))
	if err != nil || tenants.ValidSlug(slug) != nil {
		return notFound()
	}
	if here := site.From(c.Request().Context()); here.ID != "" && here.Slug != slug {
		return notFound()
	}
	if !r.caller.Operator() && r.caller.Tenant.Slug != slug {
		return notFound()
	}
	if slug == platformSlug && r.caller.Operator() && r.op.ofRecords() {
		r.tenant = tenants.Tenant{ID: tenants.Platform, Slug: platformSlug, Name: "The platform"}
		return nil
	}
	r.tenant, err = a.Tenants.TenantBySlug(c.Request().Context(), slug)
	switch {
	case fault.HasCode(err, fault.NotFound):
		return notFound()
	case err != nil:
		return err
	case !r.caller.Operator() && (r.tenant.ID != r.caller.Tenant.ID || r.tenant.Suspended):
		return notFound()
	}
	return nil
}

// of is whose the operation is: the tenant's of the path, or the platform's.
func (r *request) of() tenants.ID {
	if r.op.ofTenant {
		return r.tenant.ID
	}
	return tenants.Platform
}

// allowed holds the caller against what the operation needs.
func (r *request) allowed() error {
	if r.op.operator && !r.caller.Operator() {
		return notFound() // operators' paths are not there for others
	}
	for _, p := range r.op.needs {
		if !r.caller.Holds(p) {
			return fault.New(fault.RoleNotAllowed, "This needs the permission %s, which you do not hold. Ask an administrator for a role with it.", p).WithScope(string(p))
		}
	}
	return nil
}

const (
	// maxBody holds the largest tenant file with its escapes.
	maxBody = 6 << 20
	// maxLargeBody holds the largest OpenAPI document with its escapes.
	maxLargeBody = 48 << 20
	// Reading one takes memory and seconds: so many at once, and of one tenant.
	maxLarge, maxLargeEach = 8, 2
)

func readBody(c echo.Context, most int64) ([]byte, error) {
	r := c.Request()
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, most))
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "The body is larger than %d MB, or ended before it was complete. Send less at once.", most>>20).Because(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return b, nil
}

// held is an answer that is looked at before it leaves.
type held struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *held) Header() http.Header { return h.header }
func (h *held) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
}
func (h *held) Write(b []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	return h.body.Write(b)
}

// hold runs a handler and keeps its answer.
func (a *API) hold(c echo.Context, next echo.HandlerFunc) (*held, error) {
	h := &held{header: http.Header{}}
	outer := c.Response()
	c.SetResponse(echo.NewResponse(h, a.echo))
	defer c.SetResponse(outer)
	if err := next(c); err != nil {
		return nil, err
	}
	if h.status == 0 {
		h.status = http.StatusNoContent
	}
	return h, nil
}

// release sends an answer that was held.
func (h *held) release(c echo.Context) error {
	to := c.Response()
	for name, values := range h.header {
		to.Header()[name] = values
	}
	to.WriteHeader(h.status)
	if h.status == http.StatusNoContent || h.status == http.StatusNotModified {
		return nil
	}
	_, err := to.Write(h.body.Bytes())
	return err
}

// show answers a read, with its ETag. What changes by itself is sent anew each
// time.
func (a *API) show(c echo.Context, op *operation, next echo.HandlerFunc) error {
	h, err := a.hold(c, next)
	if err != nil {
		return err
	}
	h.tag(op)
	if tag := h.header.Get("ETag"); tag != "" && len(op.volatile) == 0 && slices.Contains(splitTags(c.Request().Header.Values("If-None-Match")), tag) {
		h.status = http.StatusNotModified
	}
	return h.release(c)
}

// change does a write: once for its key, alone in its tenant, on what the caller
// saw, and on record.
func (a *API) change(c echo.Context, r *request, next echo.HandlerFunc) error {
	h, err := a.once(c, r, func() (h *held, err error) {
		err = a.alone(c, r, func() error {
			if err := a.unchanged(c, r); err != nil {
				return a.recordRefusal(c.Request().Context(), r, err)
			}
			h, err = a.recorded(c, r, func() (*held, error) { return a.hold(c, next) })
			if err == nil && r.op.tagged {
				h.tag(r.op)
			}
			return err
		})
		return h, err
	})
	if err != nil {
		return err
	}
	return h.release(c)
}

// alone serializes writes of one tenant, and of the platform.
func (a *API) alone(c echo.Context, r *request, fn func() error) error {
	if r.op.unlocked || r.op.unrecorded {
		return fn()
	}
	outer := c.Request()
	defer c.SetRequest(outer)
	return a.Changes.Exclusive(outer.Context(), r.of(), func(ctx context.Context) error {
		c.SetRequest(c.Request().WithContext(ctx))
		return fn()
	})
}

func splitTags(values []string) (tags []string) {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			tags = append(tags, strings.TrimSpace(t))
		}
	}
	return tags
}
