package kinds

import (
	"encoding/json"
	"strings"
	"testing"

	"latchkey/internal/catalog"
	"latchkey/internal/registry"
)

// What is proposed for a server.json is what the kind takes, once its secrets are
// there. A kind that this build does not have is left out.
func TestImportedServersAreWhatTheirKindsTake(t *testing.T) {
	for name, raw := range map[string]string{
		"remote with a token":  `{"name":"a.b/c","remotes":[{"type":"streamable-http","url":"https://example.com/mcp","headers":[{"name":"Authorization","value":"Bearer {t}","isSecret":true}]}]}`,
		"remote with a header": `{"name":"a.b/c","remotes":[{"type":"sse","url":"https://example.com/sse","headers":[{"name":"X-Api-Key","isSecret":true},{"name":"X-Plan","value":"free"}]}]}`,
		"remote":               `{"name":"a.b/c","remotes":[{"type":"streamable-http","url":"https://example.com/mcp"}]}`,
		"package":              `{"name":"a.b/c","packages":[{"registryType":"npm","identifier":"@a/b","version":"1.2.3","packageArguments":[{"type":"positional","value":"/tmp"}],"environmentVariables":[{"name":"KEY","isRequired":true,"isSecret":true},{"name":"REGION","value":"eu"}]}]}`,
	} {
		p, err := catalog.Import(json.RawMessage(raw), "")
		if err != nil {
			t.Fatal(err)
		}
		k, ok := ByName(p.Kind)
		if !ok {
			t.Logf("%s: there is no kind %s here", name, p.Kind)
			continue
		}
		file := "tenant: acme\nname: Acme\nservers:\n" + p.YAML
		f, err := registry.ParseFile("imported.yaml", []byte(file), Checker(), func(string, string) (string, error) { return "s3cret", nil })
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, file)
			continue
		}
		if f.Servers[0].Server.Kind != k.Name || strings.Contains(string(f.Servers[0].Server.Connection), "s3cret") {
			t.Errorf("%s: %+v", name, f.Servers[0])
		}
	}
}
