package api

import (
	"net/http"
	"strings"
	"testing"

	"latchkey/internal/fault"
)

func TestBearer(t *testing.T) {
	for header, want := range map[string]string{"Bearer x": "x", "bearer x": "x", "BEARER x.y-z_~+/=": "x.y-z_~+/=", "Bearer  x ": "x"} {
		if got, ok, err := bearer(http.Header{"Authorization": {header}}); !ok || err != nil || got != want {
			t.Errorf("%q: %q %v %v", header, got, ok, err)
		}
	}
	for _, values := range [][]string{{""}, {"Bearer"}, {"Bearer "}, {"x"}, {"Basic x"}, {"Bearer x y"}, {"Bearer x", "Bearer y"}, {"Bearer x,Bearer y"}, {"Bearer x\tz"}} {
		if _, ok, err := bearer(http.Header{"Authorization": values}); ok || !fault.HasCode(err, fault.Unauthenticated) {
			t.Errorf("%q: %v %v", values, ok, err)
		}
	}
	if _, ok, err := bearer(http.Header{}); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
}

func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer x", "Bearer", "bearer  a", "Basic eDp5", "Bearer a b", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		token, ok, err := bearer(http.Header{"Authorization": {header}})
		if ok == (err != nil) || ok && (token == "" || strings.ContainsAny(token, " \t,") || !strings.Contains(header, token)) {
			t.Fatalf("%q: %q %v %v", header, token, ok, err)
		}
	})
}
