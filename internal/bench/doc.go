// Package bench measures the platform from outside, against the real binaries:
// calls per second beside a plain server of the MCP Go SDK, memory, time to
// ready, and what the authorization server answers in a second.
//
// Everything shares the machine with the load client, so that only ratios of
// one run say much. Each is taken in rounds that alternate between its sides.
// docs/performance.md explains the figures. The package has nothing but tests.
package bench
