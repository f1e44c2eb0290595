import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import type { Plugin } from "vite";

/** Writes .br and .gz beside every text asset; the Go server sends them as they are. */
function precompress(): Plugin {
  return {
    name: "precompress",
    apply: "build",
    enforce: "post",
    generateBundle: {
      order: "post",
      handler(_options, bundle) {
        for (const [name, file] of Object.entries(bundle)) {
          // The server writes into the index page, so that one is never sent as built.
          if (!/\.(js|css|svg|json)$/.test(name)) continue;
          const text = Buffer.from(file.type === "chunk" ? file.code : file.source);
          if (text.length < 1024) continue;
          const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: text.length };
          this.emitFile({ type: "asset", fileName: `${name}.br`, source: brotliCompressSync(text, { params }) });
          this.emitFile({ type: "asset", fileName: `${name}.gz`, source: gzipSync(text, { level: 9 }) });
        }
      },
    },
  };
}

/** Lets the browser fetch the font of the first paint while it still parses the script. */
function preloadFont(): Plugin {
  return {
    name: "preload-font",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler(_html, { bundle }) {
        const font = Object.keys(bundle ?? {}).find((name) => /inter-latin-wght-normal-.*\.woff2$/.test(name));
        if (!font) throw new Error("the font of the first paint is not in the bundle");
        return [{ tag: "link", attrs: { rel: "preload", as: "font", type: "font/woff2", crossorigin: "", href: `./${font}` }, injectTo: "head" }];
      },
    },
  };
}

/** Stands in for the Go server under `vite`: what it would write into the index page. */
function placeholders(): Plugin {
  return {
    name: "placeholders",
    apply: "serve",
    transformIndexHtml: {
      order: "pre",
      handler: (html) => html.replace("__BASE_HREF__", "/").replace("__STYLE_NONCE__", "").replace("__LATCHKEY__", ""),
    },
  };
}

const platform = process.env.LATCHKEY_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "./",
  plugins: [react(), precompress(), preloadFont(), placeholders()],
  resolve: { alias: { "~": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    target: "es2023",
    // Browsers that know light-dark(); older ones would get a transformation that follows the system instead of the theme.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1000,
  },
  server: { host: "127.0.0.1", proxy: { "/api": platform, "/t": platform, "/ops": platform } },
  test: {
    environment: "happy-dom",
    // A page is drawn whole; on a machine that compiles Go beside it that takes its time.
    testTimeout: 90_000,
    setupFiles: ["src/testing/setup.ts"],
    restoreMocks: true,
    // By default one processor is left idle, of two.
    maxWorkers: "100%",
    css: false,
  },
});
