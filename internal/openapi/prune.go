package openapi

import (
	"bytes"
	"encoding/json"
	"strings"
)

// MaxPruned bounds what is kept of a document.
const MaxPruned = 2 << 20

// Prune gives the part of the document that the operations need, as a document of
// its own: tools that are made of it are the same. Examples, extensions and what
// is answered but success is left out.
func (d *Document) Prune(ops []Summary) ([]byte, error) {
	one := *d
	one.visited = map[string]bool{}
	wanted := map[string]map[string]bool{} // methods by path
	for _, s := range ops {
		if _, err := one.Operation(s); err != nil {
			return nil, err
		}
		if wanted[s.Path] == nil {
			wanted[s.Path] = map[string]bool{}
		}
		wanted[s.Path][strings.ToLower(s.Method)] = true
	}
	p := pruner{doc: d}
	p.out.WriteByte('{')
	p.member("openapi", quoted(d.Dialect), false)
	p.member("info", quotedInfo(d), false)
	if servers := get(d.raw, "servers"); servers != nil {
		p.member("servers", servers, false)
	}
	p.key("paths")
	p.paths(wanted)
	p.key("components")
	p.components(one.visited)
	p.out.WriteByte('}')
	if p.out.Len() > MaxPruned {
		return nil, bad("What the %d chosen operations need of the document is larger than %d MB. Choose fewer.", len(ops), MaxPruned>>20)
	}
	if !json.Valid(p.out.Bytes()) {
		return nil, bad("The document cannot be cut down to the chosen operations.")
	}
	return p.out.Bytes(), nil
}

func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil { // a string has JSON
		panic(err)
	}
	return b
}

func quotedInfo(d *Document) []byte {
	return []byte(`{"title":` + string(quoted(d.Title)) + `,"version":` + string(quoted(d.Version)) + `}`)
}

type pruner struct {
	doc *Document
	out bytes.Buffer
}

func (p *pruner) key(name string) {
	if last := p.out.Bytes()[p.out.Len()-1]; last != '{' {
		p.out.WriteByte(',')
	}
	p.out.Write(quoted(name))
	p.out.WriteByte(':')
}

func (p *pruner) member(name string, value []byte, names bool) {
	p.key(name)
	p.value(value, names, 0)
}

func (p *pruner) paths(wanted map[string]map[string]bool) {
	p.out.WriteByte('{')
	seen := map[string]bool{}
	for _, s := range p.doc.list {
		methods := wanted[s.Path]
		if methods == nil || seen[s.Path] {
			continue
		}
		seen[s.Path] = true
		p.key(s.Path)
		p.out.WriteByte('{')
		each(s.item, func(name string, v []byte) bool {
			switch {
			case name == "parameters":
				p.member(name, v, false)
			case methods[name]:
				p.key(name)
				p.operation(v)
			}
			return p.out.Len() <= MaxPruned
		})
		p.out.WriteByte('}')
	}
	p.out.WriteByte('}')
}

func (p *pruner) operation(raw []byte) {
	p.out.WriteByte('{')
	each(raw, func(name string, v []byte) bool {
		switch name {
		case "operationId", "summary", "description", "tags", "deprecated", "parameters", "requestBody":
			p.member(name, v, false)
		case "responses":
			p.key(name)
			p.out.WriteByte('{')
			each(v, func(code string, one []byte) bool {
				if strings.HasPrefix(code, "2") {
					p.member(code, one, false)
				}
				return true
			})
			p.out.WriteByte('}')
		}
		return true
	})
	p.out.WriteByte('}')
}

// components are those that were looked at, in the order of the document.
func (p *pruner) components(visited map[string]bool) {
	p.out.WriteByte('{')
	each(get(p.doc.raw, "components"), func(section string, all []byte) bool {
		opened := section == "securitySchemes"
		if opened {
			p.member(section, all, true)
			return true
		}
		each(all, func(name string, v []byte) bool {
			if !visited[section+"/"+name] {
				return true
			}
			if !opened {
				opened = true
				p.key(section)
				p.out.WriteByte('{')
			}
			p.member(name, v, false)
			return p.out.Len() <= MaxPruned
		})
		if opened {
			p.out.WriteByte('}')
		}
		return p.out.Len() <= MaxPruned
	})
	p.out.WriteByte('}')
}

// named are keywords whose members have names of the author's choice.
var named = map[string]bool{"properties": true, "patternProperties": true, "$defs": true, "definitions": true, "dependentSchemas": true,
	"content": true, "encoding": true, "headers": true, "variables": true, "flows": true, "scopes": true, "mapping": true}

// value writes one; names: its members are named by the author, not keywords.
func (p *pruner) value(raw []byte, names bool, depth int) {
	if p.out.Len() > MaxPruned {
		p.out.WriteString("null")
		return
	}
	switch kindOf(raw) {
	case '{':
		if ref := textOf(get(raw, "$ref")); ref != "" && !names && !strings.HasPrefix(ref, "#/components/") && depth < maxDepth {
			// What stands elsewhere is not kept there.
			if target, err := p.doc.lookup(ref); err == nil {
				p.value(target, false, depth+20)
				return
			}
		}
		p.out.WriteByte('{')
		each(raw, func(name string, v []byte) bool {
			if !names && (strings.HasPrefix(name, "x-") || name == "examples" || name == "callbacks" || name == "links" || name == "externalDocs" || name == "xml") {
				return true
			}
			p.key(name)
			p.value(v, !names && named[name], depth+1)
			return true
		})
		p.out.WriteByte('}')
	case '[':
		p.out.WriteByte('[')
		first := true
		eachOf(raw, func(v []byte) bool {
			if !first {
				p.out.WriteByte(',')
			}
			first = false
			p.value(v, false, depth+1)
			return true
		})
		p.out.WriteByte(']')
	default:
		p.out.Write(raw)
	}
}
