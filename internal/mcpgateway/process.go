package mcpgateway

import (
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// metaProcess says in an answer that another process of the server gave it than
// the answer before.
const metaProcess = "latchkey/process"

const restartedText = "The server was restarted since your last call; what it kept in memory before is gone."

// processes remembers which process served each grant last, so that the loss of
// what one kept in memory is told, once. It is this edge's own memory: a grant
// whose calls go to several edges may be told by each of them, and one whose
// edge is new by none.
type processes struct {
	mu        sync.Mutex
	young     map[listedKey]string
	old       map[listedKey]string // what was young before
	turnedAt  time.Time
	mostYoung int
}

const (
	processesKept = 50_000 // grants in each half
	processesAge  = 12 * time.Hour
)

func newProcesses() *processes {
	return &processes{young: map[listedKey]string{}, turnedAt: time.Now(), mostYoung: processesKept}
}

// another reports whether the process is not the one of the grant's last call.
// Empty, of servers that keep nothing between calls, is never another.
func (p *processes) another(k listedKey, process string) bool {
	if process == "" || k.grant == "" {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before, known := p.young[k]
	if !known {
		before, known = p.old[k]
	}
	if len(p.young) >= p.mostYoung || time.Since(p.turnedAt) > processesAge {
		p.old, p.young, p.turnedAt = p.young, map[listedKey]string{}, time.Now()
	}
	p.young[k] = process
	return known && before != process
}

// restartTold adds to an answer that its server was restarted. It is not part of
// the outcome that repeats of the call get.
func (c *call) restartTold(out *mcp.CallToolResult) *mcp.CallToolResult {
	if !c.restarted {
		return out
	}
	told := *out
	told.Content = append(append([]mcp.Content(nil), out.Content...), &mcp.TextContent{Text: "[" + restartedText + "]"})
	told.Meta = c.restartMeta(out.Meta)
	return &told
}

// restartMeta is the same for answers without a text of ours.
func (c *call) restartMeta(m mcp.Meta) mcp.Meta {
	if !c.restarted {
		return m
	}
	told := mcp.Meta{metaProcess: map[string]any{"restarted": true, "note": restartedText}}
	for k, v := range m {
		if k != metaProcess {
			told[k] = v
		}
	}
	return told
}
