package accounts

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// Whatever a token endpoint answers, what is kept can stand in a header and ends
// some time.
func FuzzReadTokens(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":"r","scope":"x y"}`,
		`{"access_token":"a","token_type":"bearer","expires_in":"60"}`,
		`{"access_token":"a b","token_type":"bearer"}`, `{"error":"invalid_grant"}`, `[]`, ``, `{"access_token":"a","token_type":"bearer","expires_in":1e400}`,
	} {
		f.Add([]byte(seed), 200)
	}
	now := time.Now()
	f.Fuzz(func(t *testing.T, raw []byte, status int) {
		got, err := readTokens(&http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}}, raw, now)
		if err != nil {
			return
		}
		if status != 200 || got.Access == "" || strings.ContainsAny(got.Access.Reveal()+got.Refresh.Reveal(), " \r\n\t\x00") {
			t.Errorf("took %q", raw)
		}
		if end := got.ExpiresAt; !end.IsZero() && (end.Before(now.Add(-time.Second)) || end.After(now.Add(maxLife))) {
			t.Errorf("it ends at %s", end)
		}
		if len(got.Scopes) > 100 {
			t.Errorf("%d scopes", len(got.Scopes))
		}
	})
}
