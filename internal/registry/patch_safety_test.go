package registry

import (
	"encoding/json"
	"testing"

	"latchkey/internal/fault"
)

// All else of a spec stays byte for byte.
func TestSafetyIsSplicedIntoTheSpec(t *testing.T) {
	spec := json.RawMessage(`{ "tools": [ {"name":"a"} , { "limits" : {"user":{}} , "name":"b", "version": 1 , "approval":{"role":"x"} }, "c" ], "z": 1 }`)
	for _, c := range []struct{ tool, safety, want string }{
		{"a", `{"limits":{"tool":{"rate":"1/s"}}}`, `{ "tools": [ {"name":"a","limits":{"tool":{"rate":"1/s"}}} , { "limits" : {"user":{}} , "name":"b", "version": 1 , "approval":{"role":"x"} }, "c" ], "z": 1 }`},
		{"b", `{"limits":null}`, `{ "tools": [ {"name":"a"} , { "name":"b", "version": 1 , "approval":{"role":"x"} }, "c" ], "z": 1 }`},
		{"b", `{"version":null}`, `{ "tools": [ {"name":"a"} , { "limits" : {"user":{}} , "name":"b" , "approval":{"role":"x"} }, "c" ], "z": 1 }`},
		{"b", `{"approval":null,"version":2}`, `{ "tools": [ {"name":"a"} , { "limits" : {"user":{}} , "name":"b", "version": 2 }, "c" ], "z": 1 }`},
		{"c", `{"version":2,"limits":null}`, `{ "tools": [ {"name":"a"} , { "limits" : {"user":{}} , "name":"b", "version": 1 , "approval":{"role":"x"} }, {"name":"c","version":2} ], "z": 1 }`},
		{"a", `{"guard":null}`, string(spec)},
	} {
		got, err := PatchTool(spec, c.tool, ToolPatch{Safety: json.RawMessage(c.safety)})
		if err != nil || !json.Valid(got) || string(got) != c.want {
			t.Errorf("%s of %s: %v\n%s\nwant\n%s", c.safety, c.tool, err, got, c.want)
		}
	}
	for _, bad := range []string{`[]`, `"x"`, `{"name":"d"}`, `{"statement":"DROP"}`, `{"version":1,"version":2}`} {
		if _, err := PatchTool(spec, "a", ToolPatch{Safety: json.RawMessage(bad)}); !fault.HasCode(err, fault.InvalidSpec) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if got := DeclaredSafety(spec, "b"); string(got) != `{"limits":{"user":{}},"version":1,"approval":{"role":"x"}}` {
		t.Errorf("%s", got)
	}
	if got := DeclaredSafety(spec, "a"); got != nil {
		t.Errorf("%s", got)
	}
}
