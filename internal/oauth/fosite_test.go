package oauth_test

import (
	"context"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// The table of what fosite v0.49.0 does not do, each row with the test that
// shows it does not reach us. Rows that are a test of their own stand here by
// name; the rest is below.
//
//	a wrong verifier, then none                    TestWrongVerifierThenNoneBothFail
//	resource ignored, audience by prefix           TestResourceMustBeOneServerOfThisTenant, TestUnconsentedResourceIsInvalidTarget
//	scope on refresh ignored                       TestRefreshNarrowsOnRequestAndRefusesWidening
//	loopback ports, userinfo, http against https   TestUnregisteredRedirectGetsPageNotRedirect, TestClientsAsTheyReallyAre
//	missing state refused                          TestIssuerAndStateOnSuccessAndError
//	unknown grant is invalid_request               TestUnknownGrantType
//	duplicate parameters accepted                  TestDuplicateParametersRefused
//	redirect_uri needed at /token                  TestTokenRequestMayOmitRedirectURI
//	no EdDSA, stale iat, no client_id, scp         TestCodeFlow
//	introspection of another client's token        TestIntrospectionOfForeignTokenSaysInactive
//	a factory that matches nothing is ignored      TestDroppedGrantFailsAtStart
//	transactions silently off                      oauthtest: RefusedTurnWritesNothing, IssueIsAllOrNothing; TestCodeFlowCommitsTwice
//	bcrypt of client secrets                       TestStockHasherAndFetcherAreOutOfReach
//	JWKS fetcher without a guard                   TestStockHasherAndFetcherAreOutOfReach
//	parallel refresh kills the winner              TestFourParallelRefreshesOneSuccessor
//	sixteen round trips, four commits              TestCodeFlowCommitsTwice, TestRefreshCommitsOnce
//	go-jose v3.0.3                                 TestGoJoseIsPatched

// writes counts the transactions that wrote something: only those get an id.
func (w *world) writes(do func()) int64 {
	w.t.Helper()
	current := func() (n int64) {
		err := w.db.InTenant(context.Background(), w.acme.ID, func(ctx context.Context, tx pgx.Tx) error {
			return tx.QueryRow(ctx, `SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint`).Scan(&n)
		})
		if err != nil {
			w.t.Fatal(err)
		}
		return n
	}
	before := current()
	do()
	return current() - before
}

func TestCodeFlowCommitsTwice(t *testing.T) {
	w := newSerialWorld(t)
	a := w.register(w.acme, "https://app.example/cb")
	browser := w.signIn.begin(w.acme.user)
	a.code(browser) // from now on it is remembered
	w.server.EnsureKeys(t.Context(), w.acme.ID)
	var code string
	if n := w.writes(func() { _, q := a.authorize(browser).location(t); code = q.Get("code") }); n != 1 {
		t.Errorf("a code: %d commits", n)
	}
	if n := w.writes(func() { w.granted(a.token(a.exchangeForm(code))) }); n != 1 {
		t.Errorf("an exchange: %d commits", n)
	}
	// With a question, one more for what is parked.
	if n := w.writes(func() { code = a.code(browser, set("prompt", "consent")) }); n != 2 {
		t.Errorf("a question and its answer: %d commits", n)
	}
}

func TestRefreshCommitsOnce(t *testing.T) {
	w := newSerialWorld(t)
	a := w.register(w.acme)
	g := w.connect(a)
	var next granted
	if n := w.writes(func() { next = w.granted(a.refresh(g.refresh)) }); n != 1 {
		t.Errorf("a refresh: %d commits", n)
	}
	if n := w.writes(func() { w.granted(a.refresh(g.refresh)) }); n != 1 { // takes row locks, writes nothing
		t.Errorf("a repeated refresh: %d commits", n)
	}
	if n := w.writes(func() { a.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {next.refresh + "x"}}) }); n != 0 {
		t.Errorf("an unknown token: %d commits", n)
	}
}

func TestGoJoseIsPatched(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`github.com/go-jose/go-jose/v3 v3\.0\.(\d+)`).FindSubmatch(mod)
	if m == nil || strings.Compare(string(m[1]), "5") < 0 && len(m[1]) < 2 {
		t.Errorf("fosite asks for v3.0.3, which has known holes: %q", m)
	}
}
