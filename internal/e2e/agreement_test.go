package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// pendingOf is what a call waits for.
type pendingOf struct {
	Kind, Message, Confirmation, Approval, Role string
	Next                                        struct {
		Tool      string
		Arguments json.RawMessage
	}
}

// waits reads what a call that was not run says of it.
func waits(t *testing.T, a Answer, code string) pendingOf {
	t.Helper()
	wantFailure(t, a, code)
	m, err := a.Message()
	if err != nil {
		t.Fatal(err)
	}
	var s struct{ Pending pendingOf }
	if err := json.Unmarshal(m.Result.Structured, &s); err != nil || s.Pending.Kind == "" {
		t.Fatalf("%v: %s", err, a.Body)
	}
	return s.Pending
}

func refundOver(order int64, amount float64, reason string) map[string]any {
	return map[string]any{"order_id": order, "amount": amount, "reason": reason}
}

// large is an order with that much left to refund, for one test alone.
func large(t *testing.T, p *Platform, amount float64) int64 {
	t.Helper()
	ids, err := query(t.Context(), p, "demo_acme", pgx.RowTo[int64], `
		SELECT o.id FROM orders o WHERE o.status IN ('paid', 'shipped') AND
			(SELECT sum(quantity * unit_price) FROM order_lines WHERE order_id = o.id) - coalesce((SELECT sum(amount) FROM refunds WHERE order_id = o.id), 0) >= $1
		ORDER BY o.id`, amount)
	if err != nil || len(ids) == 0 {
		t.Fatalf("no order of %.2f: %v", amount, err)
	}
	return ids[int(nextPayable.Add(1))%len(ids)]
}

// atConsole is somebody's browser, signed in to the tenant's console.
func atConsole(t *testing.T, p *Platform, email string) func(method, path string, body any) (int, map[string]any) {
	t.Helper()
	pn, err := p.SignIn(t.Context(), email)
	if err != nil {
		t.Fatal(err)
	}
	follows := *pn.http
	follows.CheckRedirect = nil
	browser := &Person{User: pn.User, base: pn.base, http: &follows}
	if res, body, err := browser.get(t.Context(), pn.base+"/admin/sign-in"); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("sign in to the console: %v %.300s", err, body)
	}
	return func(method, path string, body any) (int, map[string]any) {
		t.Helper()
		text := ""
		if body != nil {
			b, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		}
		r, err := http.NewRequestWithContext(t.Context(), method, pn.base+"/api/v1"+path, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if body != nil {
			r.Header.Set("Content-Type", "application/json")
		}
		res, answer, err := send(&follows, r)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(answer), &m); err != nil {
			t.Fatalf("%s %s: %d %.300s", method, path, res.StatusCode, answer)
		}
		return res.StatusCode, m
	}
}

// A program without a person: a dry run, then the same call with its word, once.
func TestRefundIsDryRunThenConfirmedThenDoneOnce(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k, orders := p.Token(t, "fred@acme.test", "orders", read, write), p.Resource("acme", "orders")
	order, reason := large(t, p, 51), unique("confirmed ")
	w := waits(t, p.MustCall(t, orders, k.Access, "issue_refund", refundOver(order, 50.01, reason)), "confirmation_needed")
	if want := fmt.Sprintf("Refund 50.01 euros of order %d.", order); w.Message != want {
		t.Errorf("it would do %q, want %q", w.Message, want)
	}
	if l := p.LedgerOf(t, "acme", reason); len(l) != 0 {
		t.Fatalf("the dry run paid %+v", l)
	}
	changed := refundOver(order, 50.02, reason)
	changed["confirmation"] = w.Confirmation
	wantFailure(t, p.MustCall(t, orders, k.Access, "issue_refund", changed), "confirmation_invalid")
	lena := p.Token(t, "lena@acme.test", "orders", read, write)
	wantFailure(t, p.MustCall(t, orders, lena.Access, "issue_refund", w.Next.Arguments), "confirmation_invalid")
	if l := p.LedgerOf(t, "acme", reason); len(l) != 0 {
		t.Fatalf("a confirmation of something else paid %+v", l)
	}
	call := func(key string) Answer {
		a, err := p.RPC(t.Context(), orders, k.Access, "tools/call", map[string]any{"name": "issue_refund", "arguments": w.Next.Arguments, "_meta": map[string]any{
			"io.modelcontextprotocol/protocolVersion": Modern, "io.modelcontextprotocol/clientCapabilities": map[string]any{}, "latchkey/idempotencyKey": key}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if f, err := call(reason).Failure(); err != nil || f != nil {
		t.Fatalf("%+v, %v", f, err)
	}
	wantFailure(t, call(reason+" again"), "confirmation_invalid")
	if l := p.LedgerOf(t, "acme", reason); len(l) != 1 || l[0].Cents != 5001 {
		t.Errorf("the ledger has %+v", l)
	}
}

// Clients of both eras whose person is asked where they sit.
func TestRefundIsConfirmedAtTheClient(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	for _, version := range []string{"2026-07-28", "2025-11-25", "2025-06-18"} {
		for _, action := range []string{"accept", "decline"} {
			t.Run(version+" "+action, func(t *testing.T) {
				t.Parallel()
				c := &clicks{person: person(t, p, "fred@acme.test"), ticks: [][]string{{read, write}}}
				order, reason := large(t, p, 51), unique("asked "+action+" ")
				asked := make(chan string, 4)
				client := mcp.NewClient(&mcp.Implementation{Name: "e2e-go", Version: "1"}, &mcp.ClientOptions{
					ElicitationHandler: func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
						asked <- r.Params.Message
						return &mcp.ElicitResult{Action: action}, nil
					},
				})
				s, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: p.Resource("acme", "orders"), HTTPClient: c.client(), OAuthHandler: c.handler(t)},
					&mcp.ClientSessionOptions{ProtocolVersion: version})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { s.Close() })
				res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "issue_refund", Arguments: refundOver(order, 50.01, reason)})
				if err != nil {
					t.Fatal(err)
				}
				if len(asked) != 1 || !strings.Contains(<-asked, fmt.Sprintf("Refund 50.01 euros of order %d.", order)) {
					t.Error("the person was not asked, or not about this refund")
				}
				want := map[string]int{"accept": 1, "decline": 0}[action]
				if l := p.LedgerOf(t, "acme", reason); len(l) != want || res.IsError != (want == 0) {
					t.Errorf("the ledger has %+v, the answer is %+v", l, res)
				}
			})
		}
	}
}

// A large refund waits for Lena, who decides at her console, and nobody else.
func TestLargeRefundIsApprovedByTheLead(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k, orders := p.Token(t, "fred@acme.test", "orders", read, write), p.Resource("acme", "orders")
	order, reason := large(t, p, 501), unique("approved ")
	arguments := refundOver(order, 500.01, reason)
	w := waits(t, p.MustCall(t, orders, k.Access, "issue_refund", arguments), "approval_pending")
	if w.Role != "finance-lead" || w.Approval == "" || !strings.Contains(w.Message, "500.01") {
		t.Fatalf("%+v", w)
	}
	decision := "/tenants/acme/approvals/" + w.Approval + "/decision"
	approve := map[string]any{"decision": "approve"}
	for _, who := range []string{"fred@acme.test", "dana@acme.test"} { // who asked, and an admin without the role
		if status, m := atConsole(t, p, who)("POST", decision, approve); status != http.StatusForbidden || m["code"] != "role_not_allowed" {
			t.Errorf("%s: %d %v", who, status, m)
		}
	}
	if status, _ := atConsole(t, p, "vic@acme.test")("POST", decision, approve); status != http.StatusNotFound {
		t.Errorf("somebody unconcerned: %d", status)
	}
	lena := atConsole(t, p, "lena@acme.test")
	status, m := lena("GET", "/tenants/acme/approvals/"+w.Approval, nil)
	if shown, _ := m["arguments"].(map[string]any); status != http.StatusOK || m["may_decide"] != true || m["member"] != "fred@acme.test" || shown["reason"] != reason {
		t.Fatalf("%d %v", status, m)
	}
	if l := p.LedgerOf(t, "acme", reason); len(l) != 0 {
		t.Fatalf("paid before it was approved: %+v", l)
	}
	if status, m := lena("POST", decision, approve); status != http.StatusOK || m["status"] != "approved" {
		t.Fatalf("%d %v", status, m)
	}
	a := p.MustCall(t, orders, k.Access, "issue_refund", w.Next.Arguments)
	if f, err := a.Failure(); err != nil || f != nil {
		t.Fatalf("%+v, %v", f, err)
	}
	if l := p.LedgerOf(t, "acme", reason); len(l) != 1 || l[0].Cents != 50001 {
		t.Errorf("the ledger has %+v", l)
	}
	if status, m := lena("GET", "/tenants/acme/approvals/"+w.Approval, nil); status != http.StatusOK || m["status"] != "used" || m["used_call_id"] == "" {
		t.Errorf("%d %v", status, m)
	}
	// The letter says where to decide, and nothing of what is in the call.
	Eventually(t, 10*time.Second, func() error {
		names, err := filepath.Glob(p.Path("mail/*.eml"))
		if err != nil {
			return err
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			letter := strings.ReplaceAll(string(b), "=\r\n", "")
			if strings.Contains(letter, "lena@acme.test") && strings.Contains(letter, "/t/acme/admin/approvals") {
				if strings.Contains(letter, reason) || strings.Contains(letter, "500.01") {
					t.Errorf("the letter tells what is in the call: %s", letter)
				}
				return nil
			}
		}
		return fmt.Errorf("no letter to Lena among %d", len(names))
	})
}
