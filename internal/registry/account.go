package registry

// Account is what a connection says of the account that calls run with at the
// upstream, where that is given by OAuth (MCP Authorization): somebody has to
// connect it. Client and Issuer are empty where they are found out.
type Account struct {
	// Resource is the upstream's URL: what its tokens are for (RFC 8707).
	Resource string
	Scopes   []string
	PerUser  bool // one of each person's own
	// Client is the id that the platform was given at the upstream, if it was.
	Client string
	// Issuer is the authorization server, if the upstream does not say it.
	Issuer string
}
