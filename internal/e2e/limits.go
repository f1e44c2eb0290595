package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"
)

// object is a JSON object.
type object = map[string]any

// none is a limit that nobody reaches.
var none = object{"rate": "none", "concurrency": -1}

// lifted are limits that tests do not meet by accident: they call more often
// than people do, and the same again and again. What limits do is tested with
// limits of their own.
var lifted = object{
	"tenant": none, "user": none, "session": none,
	"fan_out": object{"calls": -1}, "repeats": object{"notice": -1, "refuse": -1},
}

// LiftLimits lifts the limits of the demo's tenants, once for each state.
func (p *Platform) LiftLimits() error {
	for _, tenant := range []string{"acme", "globex"} {
		at := "/tenants/" + tenant + "/limits"
		var was struct{ Own object }
		if err := p.operate(http.MethodGet, at, nil, &was); err != nil {
			return err
		}
		var want object
		if err := rewritten(lifted, &want); err != nil {
			return err
		}
		if reflect.DeepEqual(was.Own, want) {
			continue
		}
		if err := p.operate(http.MethodPut, at, lifted, nil); err != nil {
			return err
		}
	}
	return nil
}

// LiftToolLimits publishes a server of the demo without its tools' own limits.
func (p *Platform) LiftToolLimits(tenant, server string) error {
	at := "/tenants/" + tenant + "/servers/" + server
	var s struct {
		Kind, Title, Description, Pool string
		Spec                           object
	}
	if err := p.operate(http.MethodGet, at, nil, &s); err != nil {
		return err
	}
	tools, _ := s.Spec["tools"].([]any)
	for _, t := range tools {
		if tool, ok := t.(object); ok {
			delete(tool, "limits")
		}
	}
	return p.operate(http.MethodPut, at, object{"kind": s.Kind, "title": s.Title, "description": s.Description, "pool": s.Pool, "spec": s.Spec, "publish": true}, nil)
}

func rewritten(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

// operate asks the API as the operator.
func (p *Platform) operate(method, path string, body, into any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, p.APIURL+path, &b)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+p.Operator.APIKey)
	r.Header.Set("Content-Type", "application/json")
	res, text, err := send(p.HTTP, r)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %d %.500s", method, path, res.StatusCode, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal([]byte(text), into)
}
