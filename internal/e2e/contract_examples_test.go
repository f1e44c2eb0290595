package e2e

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"time"
)

var echoSpec = object{"tools": []object{{"name": "echo", "scope": "spare"}, {"name": "whoami", "scope": "spare"}}}

// stock makes one of everything in a tenant, and returns the ids.
func (c *contract) stock(tenant string) map[string]string {
	c.Helper()
	at := "/tenants/" + tenant
	made := map[string]string{}
	c.must("operator", "PUT", at+"/roles/spare", object{"scopes": []object{}, "permissions": []string{}}, http.StatusOK, nil)
	c.must("operator", "PUT", at+"/roles/spare-"+tenant, object{"scopes": []object{}}, http.StatusOK, nil)
	c.must("operator", "PUT", at+"/members/spare@"+tenant+".test", object{"name": "Spare", "roles": []string{"spare"}}, http.StatusOK, nil)
	c.must("operator", "PUT", at+"/members/gone@"+tenant+".test", object{"name": "Gone", "roles": []string{}}, http.StatusOK, nil)
	for _, slug := range []string{"spare", "spare-" + tenant} {
		c.must("operator", "PUT", at+"/servers/"+slug, object{"kind": "echo", "title": "Spare", "spec": echoSpec, "publish": true}, http.StatusOK, nil)
	}
	var invited struct{ Invitation struct{ ID string } }
	for _, name := range []string{"invitation", "invitation2"} {
		c.must("operator", "POST", at+"/invitations", object{"email": name + "@" + tenant + ".test", "roles": []string{"spare"}}, http.StatusCreated, &invited)
		made[name] = invited.Invitation.ID
	}
	var key struct{ Key struct{ ID string } }
	c.must("operator", "POST", at+"/api-keys", object{"name": "spare", "permissions": []string{"usage:read"}}, http.StatusCreated, &key)
	made["key"] = key.Key.ID

	who := map[string]string{"acme": "fred@acme.test", "globex": "gina@globex.test"}[tenant]
	made["approval"] = c.approval(tenant, who)
	c.p.Token(c.T, who, "orders", read)
	var grants struct{ Data []struct{ ID, Client string } }
	c.must("operator", "GET", at+"/grants?server=orders&status=active", nil, http.StatusOK, &grants)
	if len(grants.Data) == 0 {
		c.Fatal("a grant that was just given is not listed")
	}
	made["grant"], made["client"] = grants.Data[0].ID, grants.Data[0].Client
	var events struct{ Data []struct{ ID string } }
	c.must("operator", "GET", at+"/audit/events?limit=1", nil, http.StatusOK, &events)
	made["event"] = events.Data[0].ID
	// Of a server that the other tenant has not, and by one of the tenant, who may
	// lift it.
	made["switch"] = "server:spare-" + tenant
	c.must(map[string]string{"acme": "admin", "globex": "stranger"}[tenant], "PUT", at+"/switches/"+url.PathEscape(made["switch"]), object{"reason": "made by the contract"}, http.StatusOK, nil)
	made["safetyEvent"] = c.safetyEvent(tenant)
	var deleted struct{ ID string }
	c.must("operator", "PUT", at+"/servers/gone", object{"kind": "echo", "spec": echoSpec}, http.StatusOK, nil)
	c.must("operator", "DELETE", at+"/servers/gone", nil, http.StatusAccepted, &deleted)
	made["operation"] = deleted.ID
	return made
}

// approval is one that somebody's call waits for.
func (c *contract) approval(tenant, who string) string {
	c.Helper()
	at, role := "/tenants/"+tenant, map[string]string{"acme": "finance", "globex": "admin"}[tenant]
	c.must("operator", "PUT", at+"/servers/waits", object{"kind": "echo", "publish": true,
		"spec": object{"tools": []object{{"name": "echo", "scope": "waits", "approval": object{"role": "spare"}}}}}, http.StatusOK, nil)
	c.must("operator", "PATCH", at+"/access", object{"changes": []object{{"role": role, "server": "waits", "scope": "waits", "open": true}}}, http.StatusOK, nil)
	k := c.p.Token(c.T, who, "waits", "waits")
	if f, err := c.p.MustCall(c.T, c.p.Resource(tenant, "waits"), k.Access, "echo", object{"text": tenant}).Failure(); err != nil || f == nil || f.Code != "approval_pending" {
		c.Fatalf("a call that waits for approval: %+v, %v", f, err)
	}
	var waiting struct{ Data []struct{ ID string } }
	c.must("operator", "GET", at+"/approvals?status=pending&server=waits", nil, http.StatusOK, &waiting)
	if len(waiting.Data) != 1 {
		c.Fatalf("%d approvals wait", len(waiting.Data))
	}
	return waiting.Data[0].ID
}

// examples has every operation. What one deletes, no other needs.
func (c *contract) examples() map[string]*example {
	acme, globex := c.stock("acme"), c.stock("globex")
	one := func(name, id, foreign string) (map[string]string, map[string]string) {
		return map[string]string{name: id}, map[string]string{name: foreign}
	}
	member, noMember := one("member", "spare@acme.test", "spare@globex.test")
	role, noRole := one("role", "spare-acme", "spare-globex")
	server, noServer := one("server", "spare-acme", "spare-globex")
	invitation, noInvitation := one("invitation", acme["invitation"], globex["invitation"])
	grant, noGrant := one("grant", acme["grant"], globex["grant"])
	client, noClient := one("client", acme["client"], globex["client"])
	key, noKey := one("key", acme["key"], globex["key"])
	event, noEvent := one("event", acme["event"], globex["event"])
	approval, noApproval := one("approval", acme["approval"], globex["approval"])
	op, noOp := one("operation", acme["operation"], globex["operation"])
	off, noSwitch := one("target", acme["switch"], globex["switch"])
	safety, noSafety := one("safety_event", acme["safetyEvent"], globex["safetyEvent"])
	first := map[string]string{"server": "spare-acme", "revision": "1"}
	tool := map[string]string{"server": "spare-acme", "tool": "echo"}

	var gone struct{ ID string }
	c.must("operator", "POST", "/tenants", object{"slug": "contract-gone", "name": "Gone"}, http.StatusCreated, nil)
	c.must("operator", "POST", "/tenants", object{"slug": "contract-gone2", "name": "Gone"}, http.StatusCreated, nil)
	c.must("operator", "DELETE", "/tenants/contract-gone2", nil, http.StatusAccepted, &gone)
	var spareKey struct{ Key struct{ ID string } }
	c.must("operator", "POST", "/operator-keys", object{"name": "contract"}, http.StatusCreated, &spareKey)
	c.must("operator", "PUT", "/operators/contract@example.test", object{"name": "Contract"}, http.StatusOK, nil)

	all := map[string]*example{
		"getMe":        {},
		"listTenants":  {},
		"createTenant": {body: object{"slug": "contract-new", "name": "New", "admin": object{"email": "a@new.test", "send": false}, "quotas": object{"servers": 3}}, status: 201},
		"getTenant":    {},
		"updateTenant": {body: object{"name": "Acme Corporation"}},
		"deleteTenant": {query: "?dry_run=true", unchecked: map[string]string{"missing right": "a tenant's key is told that nothing is there, which is checked for operators' paths"}},

		"listMembers":       {},
		"getMember":         {path: member, foreign: noMember},
		"putMember":         {path: member, body: object{"name": "Spare", "roles": []string{"spare"}}},
		"getMemberAccess":   {path: member, foreign: noMember},
		"endMemberSessions": {path: member, foreign: noMember, status: 204},
		"deleteMember":      {path: map[string]string{"member": "gone@acme.test"}, foreign: noMember},

		"listInvitations":  {},
		"createInvitation": {body: object{"email": "new@acme.test", "roles": []string{"spare"}, "send": true}, status: 201},
		"getInvitation":    {path: invitation, foreign: noInvitation},
		"resendInvitation": {path: invitation, foreign: noInvitation},
		"revokeInvitation": {path: map[string]string{"invitation": acme["invitation2"]}, foreign: noInvitation, status: 204},

		"listRoles":    {},
		"getRole":      {path: role, foreign: noRole},
		"putRole":      {path: role, body: object{"description": "Spare.", "scopes": []object{{"server": "spare", "scope": "spare"}}}},
		"deleteRole":   {path: role, foreign: noRole},
		"getAccess":    {},
		"changeAccess": {body: object{"changes": []object{{"role": "spare", "server": "spare", "scope": "spare", "open": true}}}},
		"listScopes":   {},

		"listKinds":       {},
		"listServers":     {},
		"getServer":       {path: server, foreign: noServer},
		"putServer":       {path: server, body: object{"kind": "echo", "title": "Spare", "spec": echoSpec}},
		"deleteServer":    {path: server, foreign: noServer, status: 202},
		"checkServer":     {path: server, body: object{"kind": "echo", "spec": echoSpec}},
		"listRevisions":   {path: server, foreign: noServer},
		"createRevision":  {path: server, foreign: noServer, body: object{"spec_yaml": "tools:\n- {name: echo, scope: spare}\n"}, status: 201},
		"getRevision":     {path: first, foreign: noServer},
		"diffRevision":    {path: first, foreign: noServer},
		"publishRevision": {path: first, foreign: noServer},
		"tryTool": {path: first, body: object{"tool": "echo", "arguments": object{"text": "x"}}, unchecked: map[string]string{
			"success": "it is for people: see TestAdminAddsAServer", "on record": "so is this", "missing right": "a key with admin is refused as a key",
		}},
		"getTool":          {path: tool, foreign: noServer},
		"updateTool":       {path: tool, foreign: noServer, body: object{"safety": object{"limits": object{"user": object{"rate": "60/min"}}}, "publish": true}},
		"listDeprecations": {},
		"listTools":        {},
		"listConnections":  {},
		"getConnection":    {path: map[string]string{"server": "orders"}, foreign: noServer},
		"putConnection":    {path: map[string]string{"server": "orders"}, foreign: noServer, body: object{"connection": c.connection("orders")}},

		"listClients":  {},
		"getClient":    {path: client, foreign: noClient},
		"deleteClient": {path: client, foreign: noClient},
		"listGrants":   {},
		"getGrant":     {path: grant, foreign: noGrant},
		"revokeGrant":  {path: grant, foreign: noGrant, status: 204},
		"listAPIKeys":  {},
		"createAPIKey": {body: object{"name": "another", "permissions": []string{"audit:read"}}, status: 201},
		"getAPIKey":    {path: key, foreign: noKey},
		"revokeAPIKey": {path: key, foreign: noKey, status: 204},

		"listApprovals":  {query: "?status=pending"},
		"getApproval":    {path: approval, foreign: noApproval},
		"decideApproval": {path: approval, foreign: noApproval, body: object{"decision": "approve", "reason": "Fine."}},

		"listAuditEvents": {query: "?server=orders"},
		"getAuditEvent":   {path: event, foreign: noEvent},
		"exportAudit":     {query: "?format=csv"},
		"tailAudit":       {unchecked: map[string]string{"success": "it does not end: see TestExplorerFollows"}},
		"getUsage":        {},

		"listSwitches":       {query: "?on=true"},
		"getSwitch":          {path: off, foreign: noSwitch},
		"putSwitch":          {path: off, body: object{"reason": "a loop", "expires_at": "2030-01-01T00:00:00Z", "cancel_running": true}},
		"liftSwitch":         {path: off, foreign: noSwitch, status: 204},
		"listEvents":         {query: "?kind=switched_off&open=true"},
		"acknowledgeEvent":   {path: safety, foreign: noSafety},
		"getPlatformSwitch":  {},
		"putPlatformSwitch":  {body: object{"reason": "a drill"}},
		"liftPlatformSwitch": {status: 204},
		"getLimits":          {},
		"putLimits":          {body: lifted},

		"applyTenant":  {body: object{"file": "tenant: acme\nname: Acme Corporation\n"}},
		"exportTenant": {},

		"listOperations":       {},
		"getOperation":         {path: op, foreign: noOp},
		"getPlatformOperation": {path: map[string]string{"operation": gone.ID}},
		"listWorkers":          {},
		"getHealth":            {},
		"verifyAudit":          {},
		"listMail":             {},
		"listOperators":        {},
		"putOperator":          {path: map[string]string{"operator": "contract@example.test"}, body: object{"name": "Contract"}},
		"deleteOperator":       {path: map[string]string{"operator": "contract@example.test"}, status: 204},
		"listOperatorKeys":     {},
		"createOperatorKey":    {body: object{"name": "again"}, status: 201},
		"revokeOperatorKey":    {path: map[string]string{"key": spareKey.Key.ID}, status: 204},
	}
	maps.Copy(all, httpExamples())
	return all
}

// safetyEvent waits for the event of the switch that was just put.
func (c *contract) safetyEvent(tenant string) (id string) {
	c.Helper()
	Eventually(c.T, 10*time.Second, func() error {
		var page struct{ Data []struct{ ID string } }
		c.must("operator", "GET", "/tenants/"+tenant+"/events?kind=switched_off", nil, http.StatusOK, &page)
		if len(page.Data) == 0 {
			return errors.New("there is no event of a switch")
		}
		id = page.Data[0].ID
		return nil
	})
	return id
}

// connection is a server's, as it is read, which may be sent back as it is.
func (c *contract) connection(server string) any {
	var read struct{ Connection any }
	c.must("admin", "GET", "/tenants/acme/servers/"+url.PathEscape(server)+"/connection", nil, http.StatusOK, &read)
	return read.Connection
}
