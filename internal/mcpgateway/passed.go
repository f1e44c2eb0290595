package mcpgateway

import (
	"encoding/json"
	"maps"
	"net/url"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// What an upstream's list entry has besides what a definition is made of is
// passed on to lists, bounded, and never over what the platform says itself: what
// a tool may do is the administrator's word, and the platform's own metadata is
// nobody else's.

const (
	maxPassed    = 64 << 10 // bytes of all of it
	maxIcons     = 8
	maxIconURL   = 2048     // bytes of an address
	maxIconData  = 32 << 10 // bytes of a data: URL
	maxIconSizes = 8
	ownMeta      = "latchkey/"
	protocolMeta = "io.modelcontextprotocol/"
)

// passed is that part of a list entry.
type passed struct {
	icons       []mcp.Icon
	meta        mcp.Meta
	annotations *mcp.Annotations // of a resource
	title       string           // of a tool's annotations
	size        int64            // of a resource
}

// passedOf reads it. What cannot be read is left out: it was looked at when it
// was pinned, and says nothing about what may be called.
func passedOf(raw json.RawMessage) (p passed) {
	if len(raw) == 0 || len(raw) > maxPassed {
		return p
	}
	var in struct {
		Icons       json.RawMessage `json:"icons"`
		Meta        json.RawMessage `json:"_meta"`
		Annotations json.RawMessage `json:"annotations"`
		Size        json.RawMessage `json:"size"`
	}
	if json.Unmarshal(raw, &in) != nil {
		return p
	}
	p.icons = iconsOf(in.Icons)
	_ = json.Unmarshal(in.Size, &p.size)
	p.size = max(p.size, 0)
	if json.Unmarshal(in.Meta, &p.meta) == nil {
		maps.DeleteFunc(p.meta, func(name string, _ any) bool {
			return strings.HasPrefix(name, ownMeta) || strings.HasPrefix(name, protocolMeta) || name == "progressToken"
		})
	}
	if len(p.meta) == 0 {
		p.meta = nil
	}
	var a mcp.Annotations
	if json.Unmarshal(in.Annotations, &a) == nil && len(in.Annotations) > 0 && len(a.Audience) <= 2 && a.Priority >= 0 && a.Priority <= 1 && len(a.LastModified) <= 64 {
		p.annotations = &a
	}
	var t struct {
		Title string `json:"title"`
	}
	if json.Unmarshal(in.Annotations, &t) == nil {
		p.title = oneLine(t.Title, 200)
	}
	return p
}

// iconsOf keeps icons that a client may load: a picture of the public web, or one
// that is there as a whole.
func iconsOf(raw json.RawMessage) (out []mcp.Icon) {
	var icons []mcp.Icon
	if json.Unmarshal(raw, &icons) != nil {
		return nil
	}
	for _, i := range icons {
		if len(out) == maxIcons || !mayLoad(i.Source) || len(i.MIMEType) > 64 || i.MIMEType != "" && !strings.HasPrefix(i.MIMEType, "image/") || len(i.Sizes) > maxIconSizes {
			continue
		}
		if i.Theme != "" && i.Theme != mcp.IconThemeLight && i.Theme != mcp.IconThemeDark {
			i.Theme = ""
		}
		for n, s := range i.Sizes {
			i.Sizes[n] = oneLine(s, 20)
		}
		out = append(out, i)
	}
	return out
}

func mayLoad(source string) bool {
	if strings.HasPrefix(source, "data:image/") {
		return len(source) <= maxIconData
	}
	u, err := url.Parse(source)
	return err == nil && len(source) <= maxIconURL && u.Scheme == "https" && u.Host != "" && u.User == nil
}
