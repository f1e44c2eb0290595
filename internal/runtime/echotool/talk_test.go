package echotool

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

func talker(t *testing.T, text string) *instance {
	t.Helper()
	normalized, _, problems := parse(t, text)
	if problems != nil {
		t.Fatal(problems)
	}
	in, err := open(t.Context(), runtime.Opening{Spec: normalized}, runtime.Host{})
	if err != nil {
		t.Fatal(err)
	}
	return in.(*instance)
}

func TestPromptsAndResourcesAreOfferedOnlyWhereTheSpecSaysSo(t *testing.T) {
	_, def, problems := parse(t, "tools: [echo]\nprompts: p\nresources: r\n")
	if problems != nil || len(def.Prompts) != 1 || def.Prompts[0].Scope != "p" || !def.Prompts[0].Upstream || len(def.Resources) != 2 || def.Resources[0].Scope != "r" || !def.Completions || !def.Subscribe || def.Logging {
		t.Errorf("%+v, %v", def, problems)
	}
	if _, def, _ := parse(t, "tools: [log]"); len(def.Prompts)+len(def.Resources) != 0 || def.Completions || def.Subscribe || !def.Logging {
		t.Errorf("%+v", def)
	}
	in := talker(t, "tools: [echo]")
	for _, uri := range []string{tickURI, wordPrefix + "a"} {
		if _, err := in.ReadResource(t.Context(), &runtime.Call{Name: uri}, runtime.Env{}); !fault.HasCode(err, fault.NotFound) {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if _, err := in.GetPrompt(t.Context(), &runtime.Call{Name: promptName}, runtime.Env{}); !fault.HasCode(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestAskGivesBackEachAnswer(t *testing.T) {
	for what, method := range map[string]string{"form": "elicitation/create", "url": "elicitation/create", "sampling": "sampling/createMessage", "roots": "roots/list"} {
		n := 0
		env := runtime.Env{Ask: func(_ context.Context, q runtime.Question) (json.RawMessage, error) {
			if n++; q.Method != method || (what != "roots") != json.Valid(q.Params) {
				t.Errorf("%s: asked %s %s", what, q.Method, q.Params)
			}
			return json.RawMessage(`{"n":1}`), nil
		}}
		res, err := ask(t.Context(), &runtime.Call{Input: json.RawMessage(`{"what":"` + what + `","times":2}`)}, env)
		if err != nil || n != 2 || string(res.StructuredContent.(json.RawMessage)) != `{"answers":[{"n":1},{"n":1}]}` {
			t.Errorf("%s: %v, %v", what, res, err)
		}
	}
	refuse := runtime.Env{Ask: func(context.Context, runtime.Question) (json.RawMessage, error) {
		return nil, fault.New(fault.Unanswerable, "no")
	}}
	if _, err := ask(t.Context(), &runtime.Call{}, refuse); !fault.HasCode(err, fault.Unanswerable) {
		t.Error(err)
	}
}

func TestLogsAreSentInOrder(t *testing.T) {
	var got []string
	env := runtime.Env{Notify: func(n runtime.Notification) { got = append(got, n.Method+string(n.Params)) }}
	if _, err := logs(t.Context(), &runtime.Call{Input: json.RawMessage(`{"text":"a\"b","messages":3,"level":"error"}`)}, env); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || !strings.Contains(got[2], `"number":3`) || !strings.Contains(got[0], `"level":"error"`) || !strings.HasPrefix(got[0], "notifications/message{") {
		t.Errorf("%v", got)
	}
}

func TestPromptIsFilledInAndCompleted(t *testing.T) {
	in := talker(t, "prompts: p\nresources: r")
	env := runtime.Env{Notify: func(runtime.Notification) {}}
	res, err := in.GetPrompt(t.Context(), &runtime.Call{Name: promptName, Input: json.RawMessage(`{"name":"Ada","language":"Suomi"}`)}, env)
	if err != nil || len(res.Prompt.Messages) != 1 {
		t.Fatal(res, err)
	}
	if _, err := in.GetPrompt(t.Context(), &runtime.Call{Name: promptName}, env); !fault.HasCode(err, fault.InvalidArguments) {
		t.Error(err)
	}
	complete := func(name, argument, value string) []string {
		res, err := in.Complete(t.Context(), &runtime.Call{Name: name, Input: json.RawMessage(`{"argument":{"name":"` + argument + `","value":"` + value + `"}}`)}, env)
		if err != nil {
			t.Fatal(err)
		}
		return res.Completion.Completion.Values
	}
	if v := complete(promptName, "language", "e"); len(v) != 2 || v[0] != "English" {
		t.Errorf("%v", v)
	}
	if v := complete(wordTemplate, "word", "fr"); len(v) != 1 {
		t.Errorf("%v", v)
	}
	if v := complete(promptName, "name", ""); v == nil || len(v) != 0 {
		t.Errorf("%v", v)
	}
}

func TestListenerHearsOfTheResourceItAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := talker(t, "resources: r")
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		n := 0
		env := runtime.Env{Notify: func(m runtime.Notification) {
			if n++; m.Method != "notifications/resources/updated" || string(m.Params) != `{"uri":"echo://tick"}` {
				t.Errorf("%+v", m)
			}
		}}
		res, err := in.Listen(ctx, &runtime.Call{Input: json.RawMessage(`{"resources":["echo://tick"]}`)}, env)
		if err != nil || res.Health == nil || n != 3 {
			t.Errorf("%+v, %v, %d times", res, err, n)
		}
	})
}
