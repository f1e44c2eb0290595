package oauth

import (
	"slices"
	"strings"
)

// offlineAccess asks for a refresh token, which is given anyway. It stands in
// the server's metadata, never in a resource's, and never in a token.
const offlineAccess = "offline_access"

// Scopes that clients ask for out of habit and that mean nothing here.
var habitual = map[string]bool{offlineAccess: true, "openid": true, "profile": true, "email": true, "address": true, "phone": true}

// askedScopes reads a scope parameter against what a server has. A client that
// names none of the server's asks for the default, which is all: a person
// picks. Unknown ones are left out; if nothing else was asked for that is an
// error, since a token without them is no use.
func askedScopes(param string, has []string) ([]string, error) {
	asked := scopeList(param)
	named := slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return habitual[s] && !contains(has, s) })
	if len(named) == 0 {
		return slices.Clone(has), nil
	}
	known := intersect(has, named)
	if len(known) == 0 {
		return nil, say(errInvalidScope, "This server has none of the scopes that are asked for. It has: %s", strings.Join(has, " "))
	}
	return known, nil
}

// scopeList splits a scope parameter, without repeats, in order.
func scopeList(param string) []string {
	var out []string
	for _, s := range strings.Fields(param) {
		if !contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// intersect keeps what is in both, in the order of a.
func intersect(a, b []string) []string {
	out := make([]string, 0, min(len(a), len(b)))
	for _, s := range a {
		if contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}

// without keeps what is in a and not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return contains(b, s) })
}

func subset(a, b []string) bool { return len(without(a, b)) == 0 }
