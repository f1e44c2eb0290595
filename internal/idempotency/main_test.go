package idempotency_test

import (
	"testing"

	"latchkey/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
