package e2e

// upstreamExamples are of the operations on what upstreams offer and on health.
// Those that need an upstream succeed in internal/api's tests.
func (c *contract) upstreamExamples() map[string]*example {
	server, noServer := map[string]string{"server": "spare-acme"}, map[string]string{"server": "spare-globex"}
	needsUpstream := map[string]string{"success": "it needs an upstream: TestServerThatDiscoversOverTheAPI in internal/api", "on record": "only what succeeds is looked for"}
	const hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	return map[string]*example{
		"getServerHealth":    {path: server, foreign: noServer},
		"getServerOffer":     {path: server, foreign: noServer},
		"approveServerOffer": {path: server, foreign: noServer, body: object{"hash": hash}, unchecked: needsUpstream},
		"refuseServerOffer":  {path: server, foreign: noServer, body: object{"hash": hash}, unchecked: needsUpstream},
		"discoverServer":     {path: server, foreign: noServer, unchecked: needsUpstream},
		"checkServerLive":    {path: server, body: object{"kind": "echo", "spec": echoSpec}},
		"importServer": {body: object{"server_json": object{
			"name": "io.github.example/files", "description": "Files.", "version": "1.0.0",
			"packages": []object{{"registryType": "npm", "identifier": "@example/files", "version": "1.0.0", "transport": object{"type": "stdio"}}},
		}}},
	}
}
