package runtime

import (
	"encoding/json"
	"fmt"

	"latchkey/internal/fault"
)

// inspect is the last look at a result on the worker. The encoded form that it
// measures is the one that goes over the wire.
func (w *Worker) inspect(res *Result) (*Result, error) {
	b, err := json.Marshal(res)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	if len(b) > w.MaxResult {
		return nil, TooLarge(len(b), w.MaxResult)
	}
	res.encoded = b
	return res, nil
}

// TooLarge is the error for a result of n bytes where max are allowed.
func TooLarge(n, max int) *fault.Error {
	return fault.New(fault.ResultTooLarge, "The answer has %s, more than the %s that are allowed. Ask for less: fewer rows, fewer fields, or a narrower range.", bytesText(n), bytesText(max))
}

func bytesText(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f kB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// Encode gives the result as JSON, from inspect where it has been there.
func (r *Result) Encode() ([]byte, error) {
	if r.encoded != nil {
		return r.encoded, nil
	}
	return json.Marshal(r)
}
