package main

import (
	"latchkey/internal/postgres"
	"latchkey/internal/tenants"
)

// tellListeners has those look who listen, when something has changed that
// decides what they see; and follows edges that come and go.
func (pl *platform) tellListeners(c postgres.Change) {
	switch c.Topic {
	case "tenant", "access", "server", "switch", "grant":
		pl.gateway.Changed(tenants.ID(c.Tenant))
	case postgres.Reconnected:
		pl.gateway.Changed("")
	case "edge":
		pl.peers.Changed()
	}
}
