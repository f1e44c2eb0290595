package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// PendingReview is what an upstream offers now, for whoever decides about it.
type PendingReview struct {
	Offered Offered
	Changes []Change // in the upstream's words
	// Revision is what would be served; Review what stands against it.
	Revision Revision
	Review   Review
	// Unfit is why no revision can be made of it, or nil.
	Unfit error
}

// ReviewOffer shows the pending offer of a server: fault.NotFound if there is
// none.
func (e *Editor) ReviewOffer(ctx context.Context, t tenants.ID, kinds Kinds, s Server) (p PendingReview, err error) {
	if p.Offered, err = e.Offers.Offered(ctx, t, s.ID); err != nil {
		return p, err
	}
	if p.Offered.Pending.Hash == "" {
		return p, fault.New(fault.NotFound, "Nothing of this server waits for a decision.")
	}
	p.Changes = DiffOffers(p.Offered.Pinned.Offer, p.Offered.Pending.Offer)
	was, err := e.inForce(ctx, t, s)
	if err != nil {
		return p, err
	}
	if p.Revision, p.Unfit = Redefine(kinds, s, was, &p.Offered.Pending.Offer, ""); p.Unfit != nil {
		return p, nil
	}
	p.Review, err = e.Review(ctx, t, s, p.Revision.Definition)
	return p, err
}

// inForce is the revision that is served, or the newest of a draft.
func (e *Editor) inForce(ctx context.Context, t tenants.ID, s Server) (Revision, error) {
	if s.Active != "" {
		return e.Registry.Revision(ctx, t, s.Active)
	}
	return e.Registry.Newest(ctx, t, s.ID)
}

// ApproveOffer agrees to the pending offer, if that still has the hash that
// somebody looked at. What the server says over it is published under the same
// review as any revision; of a draft it is staged. Whoever calls it keeps other
// changes of the tenant out meanwhile.
func (e *Editor) ApproveOffer(ctx context.Context, t tenants.ID, kinds Kinds, s Server, hash, actor string, allowBreaking bool) (rev Revision, review Review, err error) {
	if s.Deleting {
		return rev, review, ErrDeleting
	}
	p, err := e.ReviewOffer(ctx, t, kinds, s)
	switch {
	case fault.HasCode(err, fault.NotFound) || err == nil && p.Offered.Pending.Hash != hash:
		return rev, review, ErrOfferGone()
	case err != nil:
		return rev, review, err
	case p.Unfit != nil:
		return rev, review, unfit(s, p.Unfit)
	}
	rev = p.Revision
	rev.CreatedBy = actor
	if s.Active == "" {
		rev, _, err = e.Registry.Stage(ctx, t, rev)
	} else {
		rev, review, err = e.Publish(ctx, t, s, rev, allowBreaking)
	}
	if err != nil {
		return rev, review, err
	}
	// After what it says is served: until then the one before is what is agreed
	// to, and this one waits.
	return rev, review, e.Offers.PinOffer(ctx, t, s.ID, p.Offered.Pending.Offer, actor, e.now())
}

// unfit says that a spec and an offer do not go together.
func unfit(s Server, err error) error {
	var ps *Problems
	if !errors.As(err, &ps) {
		return err
	}
	f := fault.New(fault.InvalidSpec, "What %s declares does not fit what its upstream offers. Correct the spec, then approve.", s.Slug)
	for i, p := range ps.List {
		if i == maxDetails {
			break
		}
		f = f.WithDetails(fault.Detail{Pointer: "/spec" + Pointer(nil, strings.TrimPrefix(p.Path, "spec.")), Reason: p.Reason, Fix: p.Fix})
	}
	return f
}

// Settled is what became of a server of which it is known now what it offers.
type Settled struct {
	Server    Server
	Revision  Revision // staged or published; ID empty: nothing was to do
	Published bool
	Problem   string // why it was not published
}

// Settle publishes what was awaited, once an offer is pinned; of a draft that
// nobody wants to publish it stages what it offers. It may be repeated. Whoever
// calls it keeps other changes of the tenant out meanwhile.
func (e *Editor) Settle(ctx context.Context, t tenants.ID, kinds Kinds, id ServerID, connects bool) (out Settled, err error) {
	if out.Server, err = e.Registry.Server(ctx, t, id); err != nil || out.Server.Deleting {
		return out, err
	}
	s := out.Server
	o, err := e.Offers.Offered(ctx, t, id)
	if err != nil || o.Pinned.Hash == "" {
		return out, err
	}
	awaited := o.Awaited.Revision
	var of Revision
	switch {
	case awaited != "":
		of, err = e.Registry.Revision(ctx, t, awaited)
	case s.Active == "":
		of, err = e.Registry.Newest(ctx, t, id)
	default:
		return out, nil
	}
	if fault.HasCode(err, fault.NotFound) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	rev, err := Redefine(kinds, s, of, &o.Pinned.Offer, of.CreatedBy)
	if err == nil && awaited != "" {
		if err = Publishable(s, connects); err == nil {
			rev, _, err = e.Publish(ctx, t, s, rev, o.Awaited.AllowBreaking)
		}
		out.Published = err == nil
	} else if err == nil {
		rev, _, err = e.Registry.Stage(ctx, t, rev)
	}
	if err == nil {
		out.Revision = rev
	} else if out.Problem = said(err); out.Problem == "" {
		return out, err
	}
	if awaited == "" {
		return out, nil
	}
	return out, e.Offers.EndAwait(ctx, t, id, awaited, out.Problem)
}

// said are the words of a refusal for whoever has to correct something, with its
// places; empty for what is no refusal, and may be tried again.
func said(err error) string {
	var ps *Problems
	if errors.As(err, &ps) {
		return "It does not fit what the upstream offers: " + ps.Error()
	}
	var f *fault.Error
	if !errors.As(err, &f) || f.Code.Category != fault.Validation && f.Code.Category != fault.Access {
		return ""
	}
	var b strings.Builder
	b.WriteString(f.Message)
	for _, d := range f.Details {
		fmt.Fprintf(&b, "\n- %s", d.Reason)
		if d.Fix != "" {
			b.WriteString("; " + d.Fix)
		}
	}
	return b.String()
}

// SeenAt keeps an offer that a worker brought: sealed, and held to its bounds.
func SeenAt(ctx context.Context, store Offers, t tenants.ID, id ServerID, o *Offer, at time.Time) (Seen, error) {
	o.Seal()
	if err := o.Check(); err != nil {
		return "", err
	}
	return store.SeeOffer(ctx, t, id, *o, at)
}
