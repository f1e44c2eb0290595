// Package migrations embeds the schema of the platform's database, one goose
// file a step. Each step works with the code before and after it.
//
// It owns SQL files only; internal/postgres runs them.
package migrations

import "embed"

// Files are the steps, in order of their names.
//
//go:embed *.sql
var Files embed.FS
