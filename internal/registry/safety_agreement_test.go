package registry_test

import (
	"strings"
	"testing"

	"latchkey/internal/registry"
)

// The platform's own argument is not a tool's: a call could not say which it means.
func TestToolCannotHaveTheConfirmationArgument(t *testing.T) {
	for text, problem := range map[string]bool{
		"risk: destructive":                   true,
		"{}":                                  true, // counts as destructive
		"{risk: read, confirm: always}":       true,
		"risk: read":                          false,
		"risk: write":                         false,
		"{risk: destructive, confirm: never}": false,
		"{risk: write, confirm: {when: {argument: confirmation, in: [x]}}}": true,
	} {
		n, problems := registry.ReadYAML(text)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		r := &registry.Reader{}
		registry.ReadSafety(r.Object(n, "tool", registry.SafetyKeys("risk")...), []string{"id", "confirmation"})
		if got := len(r.Problems) > 0; got != problem {
			t.Errorf("%s: %v", text, r.Problems)
		}
		if problem && (!strings.Contains(r.Problems[0].Reason, "confirmation") || r.Problems[0].Fix == "") {
			t.Errorf("%s: %+v", text, r.Problems[0])
		}
		r = &registry.Reader{}
		if registry.ReadSafety(r.Object(n, "tool", registry.SafetyKeys("risk")...), nil); len(r.Problems) > 0 {
			t.Errorf("%s without arguments: %v", text, r.Problems)
		}
	}
}
