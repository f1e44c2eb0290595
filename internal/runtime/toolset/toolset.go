// Package toolset is the kind `toolset`: a server that has nothing of its own and
// offers tools of the tenant's other servers, under its own URL, names and scopes.
//
// It owns what the spec means and what it comes to over those servers. It leaves
// calls to the gateway, which hands each one to the server that has the tool, under
// that server's rules: no worker ever opens a toolset. Resources and prompts of the
// members are not part of one.
//
//	instructions: Help one customer at a time.
//	mode: search                        # or direct, the default
//	scope: desk                         # one for all; else <server>:<its scope>
//	tools:
//	- orders/search_orders              # under its own name
//	- {tool: crm/find_customer, name: find_client, title: …, description: …, scope: …}
//	- {server: incidents, include: ["*"], exclude: [close_*], prefix: inc_, scope: …}
package toolset

import (
	"context"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// Kind is the kind `toolset`. It has no connection.
var Kind = runtime.Kind{
	Name: name, Title: "Toolset",
	Description: "Tools of several servers of this tenant under one URL, with names and scopes of their own; for hundreds of tools, found by search.",
	Template:    "instructions: \"\"\nmode: direct # or search, for many tools\ntools: [] # server/tool, or {tool: server/tool, name: …}, or {server: …, include: [\"*\"]}\n",
	Check:       check, Compose: compose, Open: open,
}

const name = "toolset"

// open is never reached by a call: the edge sends it to the server that has the
// tool.
func open(context.Context, runtime.Opening, runtime.Host) (runtime.Instance, error) {
	return nil, fault.New(fault.Unexpected, "A toolset runs nothing itself: its calls go to the servers that have the tools.")
}
