// Package api is the platform API: what the console, `platform apply` and
// scripts do, at /api/v1.
//
// openapi.yaml is written first, and everything follows from it: types and
// routes are generated, requests are validated against it, permissions are
// read from it, and the tests hold the console and tenant files to it.
//
// It owns who may do what through it, and how that is answered: problems,
// pages, ETags, idempotent repeats, the audit of every write. It leaves what a
// change means to the packages whose things are changed.
package api

//go:generate go run -modfile=../../tools/oapi/go.mod github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen --config oapi-codegen.yaml openapi.yaml
