package oauth_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"latchkey/internal/postgres"
)

// newBenchWorld reads tenants, roles and servers from memory, as the platform
// does.
func newBenchWorld(b *testing.B) *world {
	w := newWorld(b)
	cached := postgres.NewCached(w.db)
	ctx, stop := context.WithCancel(context.Background())
	b.Cleanup(stop)
	go cached.Run(ctx)
	w.config.Tenants, w.config.Registry = cached, cached
	w.restart()
	e := echo.New()
	w.server.Register(e)
	w.handler = w.sites.Resolve(cached, e, http.NotFoundHandler())
	return w
}

// BenchmarkCodeFlow is a remembered authorization with its exchange: two
// commits.
func BenchmarkCodeFlow(b *testing.B) {
	w := newBenchWorld(b)
	a := w.register(w.acme, "https://app.example/cb")
	browser := w.signIn.begin(w.acme.user)
	a.code(browser)
	b.ReportAllocs()
	for b.Loop() {
		_, q := a.authorize(browser).location(b)
		if res := a.token(a.exchangeForm(q.Get("code"))); res.StatusCode != 200 {
			b.Fatal(res.body)
		}
	}
}

// BenchmarkConsentFlow is the same with a question: three commits.
func BenchmarkConsentFlow(b *testing.B) {
	w := newBenchWorld(b)
	a := w.register(w.acme)
	browser := w.signIn.begin(w.acme.user)
	for b.Loop() {
		if res := a.token(a.exchangeForm(a.code(browser))); res.StatusCode != 200 {
			b.Fatal(res.body)
		}
	}
}

// BenchmarkRefresh is one turn of the chain: one commit.
func BenchmarkRefresh(b *testing.B) {
	w := newBenchWorld(b)
	a := w.register(w.acme)
	token := w.connect(a).refresh
	b.ReportAllocs()
	for b.Loop() {
		res := a.refresh(token)
		_, after, ok := strings.Cut(res.body, `"refresh_token":"`)
		if !ok {
			b.Fatal(res.body)
		}
		token, _, _ = strings.Cut(after, `"`)
	}
}
