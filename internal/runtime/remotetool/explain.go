package remotetool

import (
	"crypto/tls"
	"errors"
	"net/http"
	"regexp"
	"time"

	"latchkey/internal/egress"
	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// isOlder reports whether a server may be one of HTTP with SSE: one that does not
// take a POST at its address.
func isOlder(err error) bool {
	var e *statusError
	if !errors.As(err, &e) {
		return errors.Is(err, errUnread)
	}
	switch e.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType:
		return true
	}
	return false
}

// notConnected is what a call gets for which Vault has no token.
func (u *upstream) notConnected() error {
	switch {
	case u.Auth.Type != oauth:
		return fault.New(fault.CredentialsAway, "No credential is set for the server behind this tool. Nothing was done; ask an administrator to set it in the server's connection.")
	case u.Credentials.PerUser:
		return fault.New(fault.ConnectNeeded, "You have not connected your account at the server behind this tool. Nothing was done; connect it on your page of the platform, then call again.")
	}
	return fault.New(fault.CredentialsAway, "No account is connected to the server behind this tool. Nothing was done; ask an administrator to connect one.")
}

// refusedWords is what a call gets whose credential the server does not take.
func (u *upstream) refusedWords() *fault.Error {
	switch {
	case u.Auth.Type == noAuth:
		return fault.New(fault.CredentialsAway, "The server behind this tool wants a credential, and its connection has none. Nothing was done; ask an administrator to set one.")
	case u.Auth.Type != oauth:
		return fault.New(fault.CredentialsAway, "The server behind this tool does not take the credential that is set for it. Nothing was done; ask an administrator to renew it.")
	case u.Credentials.PerUser:
		return fault.New(fault.ConnectNeeded, "The server behind this tool does not take your account's authorization any more. Nothing was done; connect it again on your page of the platform, then call again.")
	}
	return fault.New(fault.CredentialsAway, "The server behind this tool does not take the authorization of the account that is connected. Nothing was done; ask an administrator to connect it again.")
}

var (
	challengeError = regexp.MustCompile(`(?i)\berror="?([a-z_]{1,40})"?`)
	challengeScope = regexp.MustCompile(`(?i)\bscope="([\x21\x23-\x5B\x5D-\x7E ]{1,300})"`) // RFC 6749 section 3.3
)

func match(r *regexp.Regexp, s string) string {
	if m := r.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return ""
}

// Explain puts the failure of a way into words (mcptool.Upstream).
func (u *upstream) Explain(_ *runtime.Call, err error) error {
	var status *statusError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &status):
		return u.status(status).Because(err)
	case errors.Is(err, egress.ErrPrivate):
		return fault.New(fault.EgressRefused, "The server behind this tool is at an address where servers may not connect to. Nothing was done; tell your administrator.").Because(err)
	case errors.Is(err, errOrigin):
		return fault.New(fault.EgressRefused, "The server behind this tool sends the platform on to another address, which is not followed. Ask an administrator to check the address in its connection.").Because(err)
	case errors.As(err, &certificate):
		return fault.New(fault.UpstreamAway, "The certificate of the server behind this tool is not valid. Nothing was done; tell your administrator.").Because(err)
	case errors.Is(err, errUnread):
		return fault.New(fault.ToolFailed, "The server's answer cannot be read: it is not what the protocol has. Tell who runs the server.").Because(err)
	}
	return nil
}

// status puts an HTTP answer into words.
func (u *upstream) status(e *statusError) *fault.Error {
	switch {
	case e.status == http.StatusForbidden && match(challengeError, e.challenge) == "insufficient_scope":
		scope := match(challengeScope, e.challenge)
		if scope == "" {
			scope = "more than it has"
		}
		code := fault.CredentialsAway
		if u.Auth.Type == oauth && u.Credentials.PerUser {
			code = fault.ConnectNeeded
		}
		return fault.New(code, "The account that is used at the server behind this tool may not do this: the server asks for the scope %s (insufficient_scope). Nothing was done; connect it again with that scope.", scope)
	case e.status == http.StatusForbidden:
		return fault.New(fault.ToolFailed, "The server behind this tool does not allow this to the account that is used (403). Nothing was done; ask who runs the server for the right to do it.")
	case e.status == http.StatusUnauthorized:
		return u.refusedWords()
	case e.status == http.StatusTooManyRequests:
		return fault.New(fault.UpstreamAway, "The server behind this tool takes no more calls for now (429). Nothing was done.").After(max(e.retryAfter, time.Second))
	case e.status >= 500:
		return fault.New(fault.UpstreamAway, "The server behind this tool fails (%d). Try again in a while.", e.status).After(max(e.retryAfter, 5*time.Second))
	}
	return fault.New(fault.UpstreamAway, "There is no MCP server at the address of the server behind this tool: it answers %d. Ask an administrator to check the address in its connection.", e.status)
}
