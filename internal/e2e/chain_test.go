package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// clicks is a person who answers apps, one sign-in after another: the first
// with the first ticks, and so on; the last ones are kept to.
type clicks struct {
	person *Person
	ticks  [][]string

	mu     sync.Mutex
	asked  []Question
	denied error
}

// open does in a browser what an app asks for, and returns where that ends.
func (c *clicks) open(ctx context.Context, authURL string) (*url.URL, error) {
	q, err := c.person.Ask(ctx, authURL)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	ticks := c.ticks[min(len(c.asked), len(c.ticks)-1)]
	c.asked = append(c.asked, q)
	c.mu.Unlock()
	if ticks == nil {
		return c.person.Answer(ctx, q, "cancel")
	}
	return c.person.Answer(ctx, q, "allow", ticks...)
}

func (c *clicks) times() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.asked)
}

// person is signed in on the platform; it fails the test otherwise.
func person(t testing.TB, p *Platform, email string) *Person {
	t.Helper()
	pn, err := p.Person(t.Context(), email)
	if err != nil {
		t.Fatal(err)
	}
	return pn
}

// handler is the Go SDK's own way through OAuth.
func (c *clicks) handler(t testing.TB) auth.OAuthHandler {
	t.Helper()
	h, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName: "Go SDK", RedirectURIs: []string{nowhere}, TokenEndpointAuthMethod: "none",
			GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"},
		}},
		AuthorizationCodeFetcher: func(ctx context.Context, a *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			to, err := c.open(ctx, a.URL)
			if err != nil {
				return nil, err
			}
			q := to.Query()
			if q.Get("error") != "" {
				return nil, errors.New("the browser came back with " + q.Get("error"))
			}
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		},
		Client: c.client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// client is an HTTP client of the platform that follows redirects.
func (c *clicks) client() *http.Client {
	return &http.Client{Transport: c.person.http.Transport, Timeout: time.Minute}
}

const (
	read  = "orders:read"
	write = "refunds:write"
)

var (
	readTools = []string{"search_orders", "summarize_order"}
	allTools  = []string{"issue_refund", "search_orders", "summarize_order"}
)

func connectGo(t testing.TB, c *clicks, endpoint, version string) *mcp.ClientSession {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "e2e-go", Version: "1"}, nil)
	s, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: endpoint, HTTPClient: c.client(), OAuthHandler: c.handler(t)},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if got := s.InitializeResult().ProtocolVersion; got != version {
		t.Fatalf("the server speaks %s, asked for %s", got, version)
	}
	return s
}

func toolNames(t testing.TB, s *mcp.ClientSession) []string {
	t.Helper()
	res, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range res.Tools {
		names = append(names, tool.Name)
	}
	slices.Sort(names)
	return names
}

// payable is an order of acme that can be refunded, for one test alone:
// refunds of one must not meet another test's.
func payable(t testing.TB, p *Platform) int64 {
	t.Helper()
	orders, err := p.Payable(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	return orders[int(nextPayable.Add(1))%len(orders)]
}

var nextPayable atomic.Int64

// unique makes a name that no other test and no other run of this one uses.
func unique(name string) string { return name + strings.ToLower(rand.Text()[:8]) }

// refundOf are arguments of issue_refund.
func refundOf(order int64, reason string) map[string]any {
	return map[string]any{"order_id": order, "amount": 0.07, "reason": reason}
}

// The whole way of a user with the Go SDK, in the newest revision and in each
// older one that has sessions: paste a URL, sign in, tick reads only, see two
// tools, get rows, be refused the refund, be asked again, and get it.
func TestGoSDKFromURLToRefund(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	for _, version := range []string{"2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c := &clicks{person: person(t, p, "fred@acme.test"), ticks: [][]string{{read}, {read, write}}}
			s := connectGo(t, c, p.Resource("acme", "orders"), version)
			if got := toolNames(t, s); !slices.Equal(got, readTools) {
				t.Errorf("only reads were ticked, and the tools are %v", got)
			}
			found, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "search_orders", Arguments: map[string]any{"query": "", "status": "paid", "limit": 5}})
			if err != nil || found.IsError {
				t.Fatalf("search_orders: %v, %+v", err, found)
			}
			var rows struct {
				Rows []struct{ ID int64 }
			}
			if b, err := json.Marshal(found.StructuredContent); err != nil || json.Unmarshal(b, &rows) != nil || len(rows.Rows) != 5 || rows.Rows[0].ID < 1001 {
				t.Fatalf("search_orders found %v", found.StructuredContent)
			}
			if c.times() != 1 {
				t.Errorf("the person was asked %d times before the refund", c.times())
			}
			reason := unique("go sdk " + version + " ")
			refund, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "issue_refund", Arguments: refundOf(payable(t, p), reason)})
			if err != nil || refund.IsError {
				t.Fatalf("issue_refund after step-up: %v, %+v", err, refund)
			}
			if c.times() != 2 {
				t.Errorf("the person was asked %d times, want a second time for the refund", c.times())
			}
			Eventually(t, 10*time.Second, func() error { // clients may keep a list for 5 s
				if got := toolNames(t, s); !slices.Equal(got, allTools) {
					return fmt.Errorf("after the step-up the tools are %v", got)
				}
				return nil
			})
			if l := p.LedgerOf(t, "acme", reason); len(l) != 1 || l[0].By != "fred@acme.test" || l[0].Cents != 7 {
				t.Errorf("the ledger has %+v", l)
			}
		})
	}
}

// A person who does not tick the refund when asked for it keeps what they had.
func TestStepUpDeniedLeavesReadsWorking(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c := &clicks{person: person(t, p, "fred@acme.test"), ticks: [][]string{{read}, nil}}
			s := connectGo(t, c, p.Resource("acme", "orders"), version)
			reason := unique("denied " + version + " ")
			res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "issue_refund", Arguments: refundOf(payable(t, p), reason)})
			if err == nil && !res.IsError {
				t.Fatal("the refund went through although it was denied")
			}
			if l := p.LedgerOf(t, "acme", reason); len(l) != 0 {
				t.Errorf("the ledger has %+v", l)
			}
			again := connectGo(t, &clicks{person: c.person, ticks: [][]string{{read}}}, p.Resource("acme", "orders"), version)
			if got := toolNames(t, again); !slices.Equal(got, readTools) {
				t.Errorf("tools: %v", got)
			}
		})
	}
}

// Somebody without the role is not offered the scope, however an app asks.
func TestStepUpBeyondRoleIsRefusedForGood(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	c := &clicks{person: person(t, p, "vic@acme.test"), ticks: [][]string{{read}}}
	s := connectGo(t, c, p.Resource("acme", "orders"), "2026-07-28")
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "issue_refund", Arguments: refundOf(payable(t, p), "beyond role")})
	if err != nil || !res.IsError {
		t.Fatalf("%v %+v", err, res)
	}
	if text := res.Content[0].(*mcp.TextContent).Text; !strings.Contains(text, "roles at Acme Corp do not allow issue_refund") || !strings.Contains(text, "refunds:write") {
		t.Errorf("an agent reads: %s", text)
	}
	if c.times() != 1 || !slices.Equal(c.asked[0].Offered, []string{read}) {
		t.Errorf("asked %d times, offered %v", c.times(), c.asked[0].Offered)
	}
}

// The challenge itself, as any client gets it.
func TestMissingScopeIsChallengedWithUnion(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "fred@acme.test", "orders", read)
	a := p.MustCall(t, p.Resource("acme", "orders"), k.Access, "issue_refund", refundOf(payable(t, p), "challenge"))
	want := fmt.Sprintf(`Bearer error="insufficient_scope", scope="orders:read refunds:write", resource_metadata="%s"`, strings.Replace(p.Resource("acme", "orders"), "/t/acme", "/.well-known/oauth-protected-resource/t/acme", 1))
	if got := a.Header.Get("WWW-Authenticate"); a.Status != http.StatusForbidden || !strings.HasPrefix(got, want) {
		t.Errorf("%d %s\nwant 403 %s", a.Status, got, want)
	}
	if l := p.LedgerOf(t, "acme", "challenge"); len(l) != 0 {
		t.Errorf("the ledger has %+v", l)
	}
}
