package openapi

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A small document could have one of its large parts read for each of many
// references: each would be cheap, and all together would not.
func TestTangledDocumentIsGivenUp(t *testing.T) {
	pad := strings.Repeat("x", 1<<20)
	parameters := func(ref func(i int) string) string {
		var all []string
		for i := range 190 {
			all = append(all, fmt.Sprintf(`{"name":"p%d","in":"query","schema":{"allOf":[{"$ref":"%s"},{"$ref":"%s"}]}}`, i, ref(2*i), ref(2*i+1)))
		}
		return strings.Join(all, ",")
	}
	var far []string
	for i := range 400 {
		far = append(far, fmt.Sprintf(`"s%d":{"type":"string"}`, i))
	}
	for name, text := range map[string]string{
		"each to another place behind a large one": `{"openapi":"3.0.3","x-far":{"pad":"` + pad + `",` + strings.Join(far, ",") + `},"paths":{` + tangledPaths(parameters(func(i int) string { return fmt.Sprintf("#/x-far/s%d", i) })) + `}}`,
		"all to one that is large":                 document(tangledPaths(parameters(func(int) string { return "#/components/schemas/Large" })), `"schemas":{"Large":{"type":"string","x-pad":"`+pad+`"}}`),
		"each member composed of all others":       document(tangledPaths(parameters(func(i int) string { return "#/components/schemas/A6" })), `"schemas":{`+composed(7, 18)+`}`),
	} {
		t.Run(name, func(t *testing.T) {
			d := mustParse(t, text)
			d.far.most = 100 << 20
			began := time.Now()
			var last error
			for _, s := range d.Operations() {
				if _, err := d.Operation(s); err != nil {
					last = err
				}
			}
			if !errors.Is(last, errTangled) {
				t.Errorf("the last operation is read all the same: %v", last)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// tangledPaths are eight operations with the same parameters.
func tangledPaths(parameters string) string {
	var all []string
	for i := range 8 {
		all = append(all, fmt.Sprintf(`"/a%d":{"get":{"parameters":[%s],"responses":{}}}`, i, parameters))
	}
	return strings.Join(all, ",")
}

// composed are schemas of which each is composed of the one before it many times.
func composed(levels, times int) string {
	pad := strings.Repeat("y", 1000)
	all := []string{`"A0":{"type":"object","properties":{"a":{"type":"string"}},"x-pad":"` + pad + `"}`}
	for i := range levels - 1 {
		one := fmt.Sprintf(`{"$ref":"#/components/schemas/A%d"}`, i)
		all = append(all, fmt.Sprintf(`"A%d":{"x-pad":"%s","allOf":[%s]}`, i+1, pad, strings.TrimSuffix(strings.Repeat(one+",", times), ",")))
	}
	return strings.Join(all, ",")
}

// Documents of the thousands that are published have these.
func TestOddRequestsOfRealDocuments(t *testing.T) {
	d := mustParse(t, document(`
		"/#Action=Attach":{"post":{"operationId":"attach","parameters":[{"name":"Action","in":"query","schema":{"type":"string","enum":["Attach"]}}],"responses":{}}},
		"/#Action=Detach":{"post":{"operationId":"detach","responses":{}}},
		"/search?query={query}":{"get":{"operationId":"search","responses":{}}},
		"/empty":{"delete":{"operationId":"empty","requestBody":{"required":true,"content":{}},"responses":{}}},
		"/text":{"post":{"operationId":"text","requestBody":{"content":{"text/json":{"schema":{"type":"object","properties":{"a":{"type":"string"}}}}}},"responses":{}}}`, ""))
	if op := mustOperation(t, d, "attach"); op.Address() != "/" || len(op.Arguments) != 1 {
		t.Errorf("%q %+v", op.Address(), op.Arguments)
	}
	if op := mustOperation(t, d, "empty"); op.Body != nil {
		t.Errorf("%+v", op.Body)
	}
	if op := mustOperation(t, d, "text"); op.Body == nil || op.Body.ContentType != "text/json" || op.Arguments[0].Name != "a" {
		t.Errorf("%+v", op)
	}
	if _, err := d.Operation(d.Match("search")[0]); err == nil || !strings.Contains(err.Error(), "has a query") {
		t.Errorf("%v", err)
	}
}

// Thousands of operations may be named alike.
func TestNamesOfManyThatAreAlike(t *testing.T) {
	var b strings.Builder
	for i := range maxOperations {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"/a%d":{"get":{"operationId":"get","responses":{}}}`, i)
	}
	began := time.Now()
	d := mustParse(t, document(b.String(), ""))
	seen := map[string]bool{}
	for _, s := range d.Operations() {
		seen[s.Tool] = true
	}
	if len(seen) != maxOperations || !seen["get"] || !seen["get_2"] || !seen[fmt.Sprintf("get_%d", maxOperations)] {
		t.Errorf("%d names", len(seen))
	}
	if n := len(d.Match("get")); n != maxOperations {
		t.Errorf("%d are chosen", n)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}
