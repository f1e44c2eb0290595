package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"latchkey/internal/testenv"
)

func TestMain(m *testing.M) {
	// Most of these tests wait most of the time: for time-outs to pass, for
	// servers to start, for browsers. More of them than there are processors
	// go at once.
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	testenv.Main(m, end)
}
