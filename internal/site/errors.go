package site

import (
	"net/http"
	"strconv"
	"time"

	"latchkey/internal/fault"
)

// refuse answers before a tenant is known: nil means suspended.
func refuse(w http.ResponseWriter, err error) {
	if err == nil || fault.HasCode(err, fault.NotFound) {
		http.Error(w, "There is no such address here. Check the URL with whoever gave it to you.", http.StatusNotFound)
		return
	}
	wait := max(fault.Of(err).RetryAfter, time.Second)
	w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
	http.Error(w, "The platform's store does not answer. Try again in a few seconds.", http.StatusServiceUnavailable)
}
