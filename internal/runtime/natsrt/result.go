package natsrt

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// A result goes over the wire in a form of its own: most of it is text and
// JSON that the edge hands on as it is. As JSON within JSON, decoded by the
// SDK, it took three times as long for a small call and thirty times for a
// megabyte. A length (a uvarint) stands before each part.
//
//	flags(1) rows(uvarint, one more than the number) lease
//	then, where flags say so: what the guard did, as JSON; the process
//	then for a tool: meta structured, and contents, each with a kind(1) before its length
//	or for a resource: the JSON of the result
//	or for anything else: the JSON of what is set
const (
	resultIsResource = 1 << iota
	resultIsError
	resultHasStructured
	resultHasGuard
	resultIsOther
	resultHasProcess
)

const (
	contentText byte = 't' // plain, with neither annotations nor metadata
	contentJSON byte = 'j'
)

const (
	maxContents = 10_000
	maxReport   = 64 << 10
)

func marshalResult(r *runtime.Result) ([]byte, error) {
	if r.Resource != nil {
		raw, err := json.Marshal(r.Resource)
		if err != nil {
			return nil, fmt.Errorf("encode resource: %w", err)
		}
		b, err := resultHead(resultIsResource, r, 64+len(raw))
		return append(b, raw...), err
	}
	if r.Tool == nil {
		raw, err := json.Marshal(other{r.Prompt, r.Completion, r.Health, r.Offer})
		if err != nil {
			return nil, fmt.Errorf("encode result: %w", err)
		}
		b, err := resultHead(resultIsOther, r, 64+len(raw))
		return append(b, raw...), err
	}
	var flags byte
	if r.Tool.IsError {
		flags |= resultIsError
	}
	var structured, meta []byte
	var err error
	if r.Tool.StructuredContent != nil {
		flags |= resultHasStructured
		if structured, err = rawJSON(r.Tool.StructuredContent); err != nil {
			return nil, err
		}
	}
	if len(r.Tool.Meta) > 0 {
		if meta, err = json.Marshal(r.Tool.Meta); err != nil {
			return nil, fmt.Errorf("encode metadata: %w", err)
		}
	}
	size := 64 + len(structured) + len(meta)
	for _, c := range r.Tool.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			size += len(t.Text) + 8
		}
	}
	b, err := resultHead(flags, r, size)
	if err != nil {
		return nil, err
	}
	b = appendPart(b, meta)
	b = appendPart(b, structured)
	for _, c := range r.Tool.Content {
		if t, ok := c.(*mcp.TextContent); ok && t.Annotations == nil && len(t.Meta) == 0 {
			b = appendPart(append(b, contentText), t.Text)
			continue
		}
		raw, err := json.Marshal(c)
		if err != nil {
			return nil, fmt.Errorf("encode content: %w", err)
		}
		b = appendPart(append(b, contentJSON), raw)
	}
	return b, nil
}

// other are the results that are neither of a tool nor a resource: none of them
// is in a hurry.
type other struct {
	Prompt     *mcp.GetPromptResult `json:"prompt,omitempty"`
	Completion *mcp.CompleteResult  `json:"completion,omitempty"`
	Health     *runtime.Health      `json:"health,omitempty"`
	Offer      *registry.Offer      `json:"offer,omitempty"`
}

func resultHead(flags byte, r *runtime.Result, size int) ([]byte, error) {
	var report []byte
	if r.Guard != nil {
		flags |= resultHasGuard
		var err error
		if report, err = json.Marshal(r.Guard); err != nil {
			return nil, fmt.Errorf("encode report: %w", err)
		}
	}
	if r.Process != "" {
		flags |= resultHasProcess
	}
	b := append(make([]byte, 0, size+len(report)+len(r.Process)), flags)
	b = binary.AppendUvarint(b, uint64(max(r.Rows, -1)+1))
	if b = appendPart(b, r.LeaseID); r.Guard != nil {
		b = appendPart(b, report)
	}
	if r.Process != "" {
		b = appendPart(b, r.Process)
	}
	return b, nil
}

func appendPart[T string | []byte](b []byte, part T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(part))), part...)
}

func rawJSON(v any) ([]byte, error) {
	if raw, ok := v.(json.RawMessage); ok {
		return raw, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode structured content: %w", err)
	}
	return raw, nil
}

// unmarshalResult reads what a worker sent, which is not believed to be sound.
// Structured content stays JSON.
func unmarshalResult(b []byte) (*runtime.Result, error) {
	p := &parts{rest: b}
	flags := p.byte()
	res := &runtime.Result{Rows: int(min(p.uvarint(), 1<<40)) - 1, LeaseID: string(p.next(maxInstance * 4))}
	if flags&resultHasGuard != 0 {
		if err := json.Unmarshal(p.next(maxReport), &res.Guard); err != nil || p.bad {
			return nil, errFrame
		}
	}
	if flags&resultHasProcess != 0 {
		res.Process = string(p.next(maxInstance * 2))
	}
	if flags&resultIsOther != 0 {
		var o other
		if p.bad {
			return nil, errFrame
		}
		if err := json.Unmarshal(p.rest, &o); err != nil {
			return nil, fmt.Errorf("%w: %w", errFrame, err)
		}
		res.Prompt, res.Completion, res.Health, res.Offer = o.Prompt, o.Completion, o.Health, o.Offer
		return res, nil
	}
	if flags&resultIsResource != 0 {
		if p.bad {
			return nil, errFrame
		}
		res.Resource = &mcp.ReadResourceResult{}
		if err := json.Unmarshal(p.rest, res.Resource); err != nil {
			return nil, fmt.Errorf("%w: %w", errFrame, err)
		}
		return res, nil
	}
	tool := &mcp.CallToolResult{IsError: flags&resultIsError != 0, Content: []mcp.Content{}}
	res.Tool = tool
	if meta := p.next(maxResult); len(meta) > 0 {
		if err := json.Unmarshal(meta, &tool.Meta); err != nil {
			return nil, fmt.Errorf("%w: %w", errFrame, err)
		}
	}
	structured := p.next(maxResult)
	if flags&resultHasStructured != 0 {
		if !json.Valid(structured) {
			return nil, errFrame
		}
		tool.StructuredContent = json.RawMessage(structured)
	}
	for len(p.rest) > 0 && !p.bad {
		kind, part := p.byte(), p.next(maxResult)
		if len(tool.Content) == maxContents {
			return nil, errFrame
		}
		c, err := content(kind, part)
		if err != nil {
			return nil, err
		}
		tool.Content = append(tool.Content, c)
	}
	if p.bad {
		return nil, errFrame
	}
	return res, nil
}

// content reads one content. The SDK decodes them only as parts of a result.
func content(kind byte, part []byte) (mcp.Content, error) {
	switch kind {
	case contentText:
		return &mcp.TextContent{Text: strings.ToValidUTF8(string(part), "\uFFFD")}, nil
	case contentJSON:
		var one mcp.CallToolResult
		whole := append(append([]byte(`{"content":[`), part...), "]}"...)
		if err := json.Unmarshal(whole, &one); err != nil || len(one.Content) != 1 {
			return nil, fmt.Errorf("%w: content: %v", errFrame, err)
		}
		return one.Content[0], nil
	}
	return nil, errFrame
}

// parts cuts lengths and what follows them. Once bad it gives nothing more.
type parts struct {
	rest []byte
	bad  bool
}

func (p *parts) byte() byte {
	if len(p.rest) == 0 {
		p.bad = true
		return 0
	}
	c := p.rest[0]
	p.rest = p.rest[1:]
	return c
}

func (p *parts) uvarint() uint64 {
	v, n := binary.Uvarint(p.rest)
	if n <= 0 {
		p.bad, p.rest = true, nil
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

func (p *parts) varint() int64 {
	v, n := binary.Varint(p.rest)
	if n <= 0 {
		p.bad, p.rest = true, nil
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

func (p *parts) text() string { return string(p.next(len(p.rest))) }

func (p *parts) next(limit int) []byte {
	n := p.uvarint()
	if n > uint64(limit) || n > uint64(len(p.rest)) {
		p.bad, p.rest = true, nil
		return nil
	}
	part := p.rest[:n:n]
	p.rest = p.rest[n:]
	return part
}
