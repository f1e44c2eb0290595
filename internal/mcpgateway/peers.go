package mcpgateway

import "net/http"

// Peers reach the other edges. What lives in one edge, such as a legacy session
// or a call that waits for its caller's answer, names it, and a request for it
// that comes to another is answered there.
type Peers interface {
	// Forward has the edge of that name answer the request, whose body is there to
	// be read once. False: that edge cannot be reached, and nothing was written.
	// The name comes from outside and may be anything. What was forwarded is not
	// forwarded again.
	Forward(w http.ResponseWriter, r *http.Request, edge string) bool
}

// alone is an edge without peers.
type alone struct{}

func (alone) Forward(http.ResponseWriter, *http.Request, string) bool { return false }
