package bench

import (
	"os"
	"testing"

	"latchkey/internal/sandbox"
	"latchkey/internal/testenv"
)

// envPlain makes this binary the baseline server instead of a test.
const envPlain = "LATCHKEY_BENCH_PLAIN"

func TestMain(m *testing.M) {
	sandbox.Helper()
	if os.Getenv(envPlain) != "" {
		servePlain()
		return
	}
	testenv.Main(m)
}
