package remotetool

import (
	"encoding/json"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
)

func TestConnectionIsNormalized(t *testing.T) {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte("url: https://mcp.example.com/mcp\nheaders: {x-region: eu}\nauth: {type: header, header: x-api-key, value: !env s3cret-value}"), &n); err != nil {
		t.Fatal(err)
	}
	raw, secrets, problems := Kind.CheckConnection(&n)
	if len(problems) > 0 {
		t.Fatal((&registry.Problems{List: problems}).Error())
	}
	if secrets[fieldValue] != "s3cret-value" || len(secrets) != 1 || strings.Contains(string(raw), "s3cret") {
		t.Errorf("%v, %s", len(secrets), raw)
	}
	var c connection
	if err := json.Unmarshal(raw, &c); err != nil || c.Transport != auto || c.Headers["X-Region"] != "eu" || c.Auth.Header != "X-Api-Key" {
		t.Errorf("%+v, %v", c, err)
	}
	if said := Kind.Source(raw); !strings.Contains(said, "X-Api-Key") || !strings.Contains(said, "mcp.example.com") {
		t.Error(said)
	}
}

// TestPersonsOwnAccounts: the registry reads from the connection whose the
// credentials are.
func TestPersonsOwnAccounts(t *testing.T) {
	for declared, want := range map[string]bool{"{type: oauth, per: user}": true, "{type: oauth, per: tenant}": false, "{type: oauth, scopes: [a, b]}": false} {
		var c struct {
			Credentials struct {
				PerUser bool `json:"per_user"`
			}
		}
		if err := json.Unmarshal(connectionOf(t, "url: https://mcp.example.com\nauth: "+declared), &c); err != nil || c.Credentials.PerUser != want {
			t.Errorf("%s: %+v, %v", declared, c, err)
		}
	}
}

func TestConnectionSaysWhatIsWrong(t *testing.T) {
	const at = "url: https://mcp.example.com\n"
	for declared, want := range map[string]string{
		"transport: auto":                                        "connection.url: is missing",
		"url: mcp.example.com":                                   "is no address of a server",
		"url: ftp://mcp.example.com":                             "is no address of a server",
		"url: file:///etc/passwd":                                "is no address of a server",
		"url: http://mcp.example.com":                            "is not encrypted",
		"url: http://93.184.215.14/mcp":                          "is not encrypted",
		"url: https://a:b@mcp.example.com":                       "has a name or password in it",
		"url: https://mcp.example.com/#x":                        "has a part after #",
		at + "protocol: newest":                                  "connection.protocol: \"newest\" is no revision of MCP",
		at + "transport: websocket":                              "connection.transport: \"websocket\" is not known",
		at + "headers: {Authorization: Bearer x}":                "is a header that the platform writes",
		at + "headers: {Mcp-Session-Id: x}":                      "is a header that the platform writes",
		at + "headers: {X-A: !env x}":                            "is a secret",
		at + "headers: {\"X A\": x}":                             "is no name of a header",
		at + "headers: {X-A: \"a\\r\\nX-B: b\"}":                 "is no value of a header",
		at + "auth: {type: magic}":                               "is not known",
		at + "auth: {type: bearer}":                              "connection.auth.token: is missing",
		at + "auth: {type: bearer, token: abc}":                  "is written in the file",
		at + "auth: {type: bearer, token: !env \"a\\nb\"}":       "cannot stand in a header",
		at + "auth: {type: none, token: !env x}":                 "does not belong to auth of type none",
		at + "auth: {type: header, header: Host, value: !env x}": "cannot be that of a credential",
		at + "auth: {type: oauth, per: planet}":                  "is not known",
	} {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(declared), &n); err != nil {
			t.Fatalf("%s: %v", declared, err)
		}
		_, _, problems := Kind.CheckConnection(&n)
		if got := (&registry.Problems{List: problems}).Error(); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", declared, got, want)
		}
	}
	for _, fine := range []string{"url: http://localhost:3000/mcp", "url: http://10.1.2.3/mcp", "url: http://tools.internal/mcp", "url: http://gateway/mcp", "url: https://mcp.example.com/mcp?team=a"} {
		connectionOf(t, fine)
	}
}

func FuzzConnection(f *testing.F) {
	f.Add("https://mcp.example.com/mcp", "X-A", "b")
	f.Add("http://[::1]:80/%2e%2e/?a#b", "x\r\ny", "\x00")
	f.Fuzz(func(t *testing.T, url, name, value string) {
		n := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
			{Kind: yaml.ScalarNode, Value: "url"}, {Kind: yaml.ScalarNode, Value: url},
			{Kind: yaml.ScalarNode, Value: "headers"}, {Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: name}, {Kind: yaml.ScalarNode, Value: value}}},
		}}
		raw, _, problems := Kind.CheckConnection(n)
		if len(problems) > 0 {
			return
		}
		var c connection
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		for k, v := range c.Headers {
			if reservedHeader(k) || strings.ContainsAny(k+v, "\r\n\x00") {
				t.Errorf("%q: %q", k, v)
			}
		}
		if !strings.HasPrefix(c.URL, "http") || strings.ContainsAny(c.URL, " \r\n\x00") {
			t.Errorf("%q", c.URL)
		}
	})
}
