package sqltool

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"latchkey/internal/registry"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGoldenSpecs holds what an author of a spec is told, word for word.
func TestGoldenSpecs(t *testing.T) {
	const file = "testdata/spec.txtar"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	archive := txtar.Parse(data)
	want := map[string]string{}
	var inputs []txtar.File
	for _, f := range archive.Files {
		if strings.HasSuffix(f.Name, ".yaml") {
			inputs = append(inputs, f)
		} else {
			want[f.Name] = string(f.Data)
		}
	}
	archive.Files = nil
	for _, f := range inputs {
		name := strings.TrimSuffix(f.Name, ".yaml") + ".want"
		got := told(t, f)
		if got != want[name] && !*update {
			t.Errorf("%s:\ngot:\n%s\nwant:\n%s", f.Name, got, want[name])
		}
		archive.Files = append(archive.Files, f, txtar.File{Name: name, Data: []byte(got)})
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func told(t *testing.T, f txtar.File) string {
	t.Helper()
	n := parseYAML(t, string(f.Data))
	var out bytes.Buffer
	if strings.HasPrefix(f.Name, "connection") {
		normalized, secrets, problems := Kind.CheckConnection(n)
		if len(problems) == 0 {
			if strings.Contains(string(normalized), "hunter2") {
				t.Error("the normalized connection holds the password")
			}
			fmt.Fprintf(&out, "%s\n%v\n", normalized, secrets)
			return out.String()
		}
		return (&registry.Problems{File: f.Name, List: problems}).Error() + "\n"
	}
	normalized, def, problems := Kind.Check(n)
	if len(problems) > 0 {
		return (&registry.Problems{File: f.Name, List: problems}).Error() + "\n"
	}
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(def); err != nil {
		t.Fatal(err)
	}
	if err := enc.Encode(normalized); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A spec that was normalized is the same spec: nothing is lost on its way to a
// worker.
func TestNormalizedSpecIsStable(t *testing.T) {
	first, _, _ := Kind.Check(parseYAML(t, ordersSpec))
	for range 5 {
		again, _, _ := Kind.Check(parseYAML(t, ordersSpec))
		if !bytes.Equal(first, again) {
			t.Fatalf("%s\n%s", first, again)
		}
	}
	var s spec
	if err := json.Unmarshal(first, &s); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(s)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("%s\n%s", first, again)
	}
}
