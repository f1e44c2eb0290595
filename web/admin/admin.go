// Package admin carries the built admin console. It only embeds the files;
// internal/console serves them.
package admin

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var embedded embed.FS

// Files is what Vite built: index.html, favicon.svg and assets/, whose names
// carry a hash. Beside a text asset stand its .br and .gz.
func Files() fs.FS {
	sub, err := fs.Sub(embedded, "dist")
	if err != nil {
		panic(err) // only for an invalid path, and this one is a constant
	}
	return sub
}

// Built reports whether this binary was compiled after the console was built.
// Without it there is no index.html, and everything but the console works.
func Built() bool {
	_, err := fs.Stat(embedded, "dist/index.html")
	return err == nil
}
