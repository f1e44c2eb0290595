package pages

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                            "plain",
		"  a\t\n b\u00a0\u3000c  ":         "a b c",
		"a\u202Eb":                         "a[U+202E]b",
		"a\u200B\u200D\u2060\uFEFF\u00ADb": "ab",
		"\u3164\u2800\u115Fx":              "x",
		"a\U000E0061\U000E0100b":           "ab",
		"\x00\x1b\x7f\u0085x":              "␀␛\uFFFD x",
		"\xff\xfe":                         "\uFFFD\uFFFD",
		"e\u0301":                          "e\u0301",
		"e" + strings.Repeat("\u0301", 9):  "e\u0301\u0301\u0301",
		"\u0301x":                          "x",
		"0123456789ABCDEFGHIJK":            "0123456789ABCDEFGHIJ…",
		"❤️":                               "❤️",
	} {
		if got := Text(in, 20); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\u202Eb\x00\xff", 10)
	f.Fuzz(func(t *testing.T, s string, max int) {
		if max < 1 || max > 1000 {
			return
		}
		got := Text(s, max)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > max+1 {
			t.Fatalf("%q: %q", s, got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
				t.Fatalf("%q: %q holds %U", s, got, r)
			}
		}
		if again := Text(got, max+1); again != got && !strings.HasSuffix(got, "…") {
			t.Fatalf("%q becomes %q and then %q", s, got, again)
		}
	})
}

func TestFormAction(t *testing.T) {
	for redirect, want := range map[string]string{
		"https://claude.ai/api/mcp/auth_callback": "https://claude.ai",
		"https://Claude.AI:8443/x":                "https://claude.ai:8443",
		"http://127.0.0.1:33418/cb":               "http://127.0.0.1:33418",
		"http://localhost:1/":                     "http://localhost:1",
		"http://[::1]:9/cb":                       "http:",
		"cursor://anysphere.cursor-mcp/cb":        "cursor:",
		"com.example.app:/oauth":                  "com.example.app:",
		"https://ü.example/":                      "https://xn--tda.example",
		"https://a;script-src *.test/":            "",
		"https://a,b/":                            "",
		"https://'unsafe-inline'/":                "",
		"https://*/":                              "",
		"https://[2001:db8::1]/":                  "",
		"javascript:alert(1)":                     "",
		"JavaScript:alert(1)":                     "",
		"data:text/html,x":                        "",
		"blob:https://x/":                         "",
		"/relative":                               "",
		"":                                        "",
		"https://":                                "",
	} {
		if got := strings.Join(FormAction(redirect), " "); got != want {
			t.Errorf("%s: %q, want %q", redirect, got, want)
		}
	}
}

func FuzzFormAction(f *testing.F) {
	f.Add("https://claude.ai/x")
	f.Add("a:; script-src *")
	f.Fuzz(func(t *testing.T, redirect string) {
		for _, s := range FormAction(redirect) {
			if strings.ContainsAny(s, " ;,'\"*\r\n\t") || slices.Contains([]string{"javascript:", "data:"}, s) {
				t.Fatalf("%q: %q", redirect, s)
			}
		}
	})
}

func TestAssets(t *testing.T) {
	get := func(url string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		Assets(w, httptest.NewRequest("GET", url, nil))
		return w
	}
	if w := get(stylesURL); w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Header().Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := get(AssetPath + "pages.css?v=older"); w.Code != 200 || strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := get(AssetPath + "layout.html"); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}
}
