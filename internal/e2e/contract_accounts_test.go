package e2e

import "net/http"

// accountExamples are of the operations on accounts at upstreams, of a server
// for which each person connects one and nobody has.
func (c *contract) accountExamples() map[string]*example {
	for _, tenant := range []string{"acme", "globex"} {
		c.must("operator", "PUT", "/tenants/"+tenant+"/servers/wiki-"+tenant, object{
			"kind": "remote", "title": "Wiki", "connection": object{"url": "https://wiki.example.com/mcp", "auth": object{"type": "oauth", "per": "user"}},
		}, http.StatusOK, nil)
	}
	server, noServer := map[string]string{"server": "wiki-acme"}, map[string]string{"server": "wiki-globex"}
	with := func(of map[string]string, member string) map[string]string {
		return map[string]string{"server": of["server"], "member": member}
	}
	return map[string]*example{
		"getAccount":              {path: server, foreign: noServer},
		"listAccounts":            {path: server, foreign: noServer},
		"disconnectAccount":       {path: server, foreign: noServer, status: http.StatusNoContent},
		"disconnectMemberAccount": {path: with(server, "fred@acme.test"), foreign: with(noServer, "gina@globex.test"), status: http.StatusNoContent},
		"authorizeAccount": {path: server, foreign: noServer, unchecked: map[string]string{
			"success":   "a person does this in a browser: TestPersonConnectsAndCallsAreReady in internal/accounts",
			"on record": "only what succeeds is looked for",
		}},
	}
}
