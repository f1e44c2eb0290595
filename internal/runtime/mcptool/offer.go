package mcptool

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

// Bounds of what is read of an upstream's lists, all lists together.
const (
	maxPages      = 400
	maxTools      = 2000
	maxResources  = 5000 // and templates
	maxPrompts    = 1000
	maxOffer      = 6 << 20   // bytes of all definitions
	maxDefinition = 256 << 10 // bytes of one
	maxDepth      = 64        // of one
	maxText       = 64 << 10  // bytes of the instructions
)

// A list of which nothing was heard is believed for half a minute, and for longer
// where reading it takes long: a hundredth of the time may go into that. Servers
// that keep no session often say nothing of changes.
const (
	freshLeast = 30 * time.Second
	freshMost  = 5 * time.Minute
	freshShare = 100
)

// toolName is what the specification allows (SEP-986).
var toolName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

// kept is what the upstream told of its offer last. What was not asked for is
// not there.
type kept struct {
	turn chan struct{} // one lists at a time

	mu             sync.Mutex
	changes        int // how often it was said that something changed
	tools, prompts listed
	all            listed
	hash           string // of all
	taught         string // the hash of the tools that the SDK knows
}

// listed is one list: hashes by name, when it was asked for, and after how many
// changes.
type listed struct {
	hashes  map[string]string
	at      time.Time
	changes int
	good    time.Duration // after at
}

func (k *kept) init() { k.turn = make(chan struct{}, 1) }

// outdated says that something changed.
func (k *kept) outdated() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes++
}

// fresh gives a list that may still be believed.
func (k *kept) fresh(which func(*kept) *listed) (map[string]string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := which(k)
	return l.hashes, !l.at.IsZero() && l.changes == k.changes && time.Since(l.at) < l.good
}

// ask lists anew, unless another call did so meanwhile.
func (k *kept) ask(ctx context.Context, which func(*kept) *listed, list func() (map[string]string, error)) (map[string]string, error) {
	if hashes, ok := k.fresh(which); ok {
		return hashes, nil
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if hashes, ok := k.fresh(which); ok {
		return hashes, nil
	}
	k.mu.Lock()
	next := listed{at: time.Now(), changes: k.changes} // what changes while it is listed counts
	k.mu.Unlock()
	var err error
	if next.hashes, err = list(); err != nil {
		return nil, err
	}
	next.good = min(max(freshShare*time.Since(next.at), freshLeast), freshMost)
	k.mu.Lock()
	defer k.mu.Unlock()
	*which(k) = next
	return next.hashes, nil
}

// toolHashes are those of the tools that the upstream has now.
func (s *Session) toolHashes(ctx context.Context) (map[string]string, error) {
	return s.offer.ask(ctx, func(k *kept) *listed { return &k.tools }, func() (map[string]string, error) {
		var o registry.Offer
		if err := s.readTools(ctx, &o, &budget{}); err != nil {
			return nil, err
		}
		o.Seal()
		return toolHashes(&o), nil
	})
}

// promptHashes are those of its prompts.
func (s *Session) promptHashes(ctx context.Context) (map[string]string, error) {
	return s.offer.ask(ctx, func(k *kept) *listed { return &k.prompts }, func() (map[string]string, error) {
		var o registry.Offer
		if err := s.readPrompts(ctx, &o, &budget{}); err != nil {
			return nil, err
		}
		o.Seal()
		return promptHashes(&o), nil
	})
}

func promptHashes(o *registry.Offer) map[string]string {
	hashes := make(map[string]string, len(o.Prompts))
	for _, p := range o.Prompts {
		hashes[p.Name] = p.Hash
	}
	return hashes
}

func toolHashes(o *registry.Offer) map[string]string {
	hashes := make(map[string]string, len(o.Tools))
	for _, t := range o.Tools {
		hashes[t.Name] = t.Hash
	}
	return hashes
}

// offerHash is that of the whole offer, listed again only when something
// changed or a while has passed.
func (s *Session) offerHash(ctx context.Context) (string, error) {
	_, err := s.offer.ask(ctx, func(k *kept) *listed { return &k.all }, func() (map[string]string, error) {
		o, err := s.read(ctx)
		if err != nil {
			return nil, err
		}
		s.offer.mu.Lock()
		s.offer.hash = o.Hash()
		s.offer.mu.Unlock()
		return nil, nil
	})
	s.offer.mu.Lock()
	defer s.offer.mu.Unlock()
	return s.offer.hash, err
}

// read asks the upstream for everything that it offers.
func (s *Session) read(ctx context.Context) (registry.Offer, error) {
	res := s.cs.InitializeResult()
	o := registry.Offer{Protocol: res.ProtocolVersion, Instructions: res.Instructions}
	if len(o.Instructions) > maxText {
		return o, tooMuch("instructions of more than %d bytes", maxText)
	}
	if i := res.ServerInfo; i != nil {
		o.Name, o.Title, o.Version = clean(i.Name, 200), clean(i.Title, 200), clean(i.Version, 100)
	}
	if c := res.Capabilities; c != nil {
		o.Completions, o.Logging = c.Completions != nil, c.Logging != nil
		o.Subscribe = c.Resources != nil && c.Resources.Subscribe
	}
	b := &budget{}
	if err := s.readTools(ctx, &o, b); err != nil {
		return o, err
	}
	if err := s.readResources(ctx, &o, b); err != nil {
		return o, err
	}
	if err := s.readPrompts(ctx, &o, b); err != nil {
		return o, err
	}
	o.Seal()
	return o, nil
}

// budget is how much of an upstream's lists was read.
type budget struct{ pages, bytes int }

func tooMuch(format string, args ...any) error {
	return fault.New(fault.ResultTooLarge, "The server offers more than can be hosted: %s. Ask who runs it to offer less.", fmt.Sprintf(format, args...))
}

// pages reads a list to its end.
func pages(b *budget, what string, page func(cursor string) (next string, err error)) error {
	cursor := ""
	for {
		if b.pages++; b.pages > maxPages {
			return tooMuch("lists of more than %d pages", maxPages)
		}
		next, err := page(cursor)
		if err != nil {
			return err
		}
		if next == "" {
			return nil
		}
		if next == cursor {
			return fault.New(fault.ToolFailed, "The server's list of %s has no end: each page names itself as the next one. Tell who runs it.", what)
		}
		cursor = next
	}
}

// definition is one entry's, within its bounds.
func (b *budget) definition(what, name string, v any) (json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode the definition of %s %.100q: %w", what, name, err)
	}
	if len(raw) > maxDefinition {
		return nil, tooMuch("the definition of the %s %.100s has %d bytes, more than %d", what, clean(name, 100), len(raw), maxDefinition)
	}
	if depth(raw) > maxDepth {
		return nil, tooMuch("the definition of the %s %.100s is nested deeper than %d levels", what, clean(name, 100), maxDepth)
	}
	if b.bytes += len(raw); b.bytes > maxOffer {
		return nil, tooMuch("definitions of more than %d bytes together", maxOffer)
	}
	return raw, nil
}

// depth of JSON that is valid.
func depth(raw []byte) (deepest int) {
	now, text, escaped := 0, false, false
	for _, c := range raw {
		switch {
		case escaped:
			escaped = false
		case text:
			escaped, text = c == '\\', c != '"'
		case c == '"':
			text = true
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// The SDK's own methods for lists keep results by cursor, for as long as the
// session lives and whatever the cursors are; a call by the method's name does
// not.

func (s *Session) readTools(ctx context.Context, o *registry.Offer, b *budget) error {
	c := s.cs.InitializeResult().Capabilities
	if c == nil || c.Tools == nil {
		return nil
	}
	seen, headers := map[string]bool{}, false
	err := pages(b, "tools", func(cursor string) (string, error) {
		res, err := mcp.CallCustomMethod[*mcp.ListToolsParams, *mcp.ListToolsResult](ctx, s.cs, "tools/list", &mcp.ListToolsParams{Cursor: cursor})
		if err != nil {
			return "", err
		}
		for _, t := range res.Tools {
			switch {
			case t == nil || seen[t.Name]:
				continue
			case !toolName.MatchString(t.Name):
				s.opts.Log.Warn("a tool is left out: its name is none", "name", clean(t.Name, 100))
				continue
			case len(o.Tools) >= maxTools:
				return "", tooMuch("more than %d tools", maxTools)
			}
			seen[t.Name] = true
			raw, err := b.definition("tool", t.Name, t)
			if err != nil {
				return "", err
			}
			headers = headers || bytes.Contains(raw, []byte(`"x-mcp-header"`))
			o.Tools = append(o.Tools, registry.OfferedTool{Name: t.Name, Definition: raw})
		}
		return res.NextCursor, nil
	})
	if err == nil && headers && s.modern() && s.opts.Apart {
		err = s.teach(ctx, o.Tools)
	}
	return err
}

// teach shows the SDK the tools whose arguments are to stand in headers too
// (SEP-2243): it writes those headers for tools that it has listed itself.
func (s *Session) teach(ctx context.Context, tools []registry.OfferedTool) error {
	var all []byte
	for _, t := range tools {
		all = append(all, t.Definition...)
	}
	_, hash := registry.Canonical(all)
	s.offer.mu.Lock()
	known := s.offer.taught == hash
	s.offer.taught = hash
	s.offer.mu.Unlock()
	if known {
		return nil
	}
	return pages(&budget{}, "tools", func(cursor string) (string, error) {
		res, err := s.cs.ListTools(ctx, &mcp.ListToolsParams{Cursor: cursor})
		if err != nil {
			return "", err
		}
		return res.NextCursor, nil
	})
}

func (s *Session) readResources(ctx context.Context, o *registry.Offer, b *budget) error {
	c := s.cs.InitializeResult().Capabilities
	if c == nil || c.Resources == nil {
		return nil
	}
	seen := map[string]bool{}
	add := func(uri, what string, template bool, v any) error {
		if uri == "" || len(uri) > 2048 || seen[uri] {
			return nil
		}
		if len(o.Resources) >= maxResources {
			return tooMuch("more than %d resources", maxResources)
		}
		seen[uri] = true
		raw, err := b.definition(what, uri, v)
		if err == nil {
			o.Resources = append(o.Resources, registry.OfferedResource{URI: uri, Template: template, Definition: raw})
		}
		return err
	}
	err := pages(b, "resources", func(cursor string) (string, error) {
		res, err := mcp.CallCustomMethod[*mcp.ListResourcesParams, *mcp.ListResourcesResult](ctx, s.cs, "resources/list", &mcp.ListResourcesParams{Cursor: cursor})
		if err != nil {
			return "", err
		}
		for _, r := range res.Resources {
			if r != nil {
				if err := add(r.URI, "resource", false, r); err != nil {
					return "", err
				}
			}
		}
		return res.NextCursor, nil
	})
	if err != nil {
		return err
	}
	err = pages(b, "resource templates", func(cursor string) (string, error) {
		res, err := mcp.CallCustomMethod[*mcp.ListResourceTemplatesParams, *mcp.ListResourceTemplatesResult](ctx, s.cs, "resources/templates/list", &mcp.ListResourceTemplatesParams{Cursor: cursor})
		if err != nil {
			return "", err
		}
		for _, r := range res.ResourceTemplates {
			if r != nil {
				if err := add(r.URITemplate, "resource template", true, r); err != nil {
					return "", err
				}
			}
		}
		return res.NextCursor, nil
	})
	if err != nil && isMethodUnknown(RunningOf(ctx).because(err)) { // an optional part of the old revisions
		RunningOf(ctx).set(func() { RunningOf(ctx).rpc = nil })
		return nil
	}
	return err
}

func (s *Session) readPrompts(ctx context.Context, o *registry.Offer, b *budget) error {
	c := s.cs.InitializeResult().Capabilities
	if c == nil || c.Prompts == nil {
		return nil
	}
	seen := map[string]bool{}
	return pages(b, "prompts", func(cursor string) (string, error) {
		res, err := mcp.CallCustomMethod[*mcp.ListPromptsParams, *mcp.ListPromptsResult](ctx, s.cs, "prompts/list", &mcp.ListPromptsParams{Cursor: cursor})
		if err != nil {
			return "", err
		}
		for _, p := range res.Prompts {
			switch {
			case p == nil || p.Name == "" || len(p.Name) > 200 || seen[p.Name]:
				continue
			case len(o.Prompts) >= maxPrompts:
				return "", tooMuch("more than %d prompts", maxPrompts)
			}
			seen[p.Name] = true
			raw, err := b.definition("prompt", p.Name, p)
			if err != nil {
				return "", err
			}
			o.Prompts = append(o.Prompts, registry.OfferedPrompt{Name: p.Name, Definition: raw})
		}
		return res.NextCursor, nil
	})
}
