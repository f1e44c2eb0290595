package stdiotool

import (
	"testing"

	"latchkey/internal/runtime"
	"latchkey/internal/runtime/runtimetest"
)

func TestKind(t *testing.T) {
	h := newHouse(t, options{})
	o := h.publish(tester(nil, ""), nil)
	tool := func(name, input string) runtimetest.Tool { return runtimetest.Tool{Name: name, Input: input} }
	runtimetest.Run(t, runtimetest.Harness{
		Kind: New(), Opening: o, Host: h.host,
		Normal: tool("echo", `{"text":"hello"}`), Failing: tool("fail", `{}`), Slow: tool("slow", `{"seconds":20}`),
		Big: tool("big", `{"bytes":3000000}`), Canary: tool("echo", `{"text":"key `+runtimetest.CanarySecret+`"}`),
	})
}

func TestServerIsStartedOnceAndAnswers(t *testing.T) {
	h := newHouse(t, options{})
	o := h.publish(tester([]string{"--banner"}, ""), nil)
	if got := h.call(o, "echo", `{"text":"hello"}`); got != "hello" {
		t.Errorf("answered %q", got)
	}
	res, err := h.do(o, runtime.Probe, "server", "", "")
	if err != nil || res.Health.Idle || res.Health.Offer == "" {
		t.Errorf("%+v, %v", res, err)
	}
}
