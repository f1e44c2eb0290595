package site

import (
	"net/http"

	"latchkey/internal/fault"
)

// statusOf is for the moment before a tenant is known: nil means suspended.
func statusOf(err error) (int, string) {
	if err == nil || fault.HasCode(err, fault.NotFound) {
		return http.StatusNotFound, "There is no such address here. Check the URL with whoever gave it to you."
	}
	return http.StatusServiceUnavailable, "The platform's store does not answer. Try again in a few seconds."
}
