# `make` prints what there is. Everything works from a fresh clone; first runs
# take longer (vaultd alone is built for about 2 minutes) and say why.

.DEFAULT_GOAL := help
.PHONY: help dev dev-reset build web web-check test check bench conformance need prepare runsc

# Packages tested at the same time. Each may have a Postgres and a Vault of its
# own, so more than four gain little and cost memory.
P ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: build ## Run the whole platform on this machine, with a seeded demo
	@./bin/platform dev

dev-reset: build ## Stop what `make dev` left behind and remove its data (.dev/)
	@./bin/platform dev --reset

build: web ## Build bin/platform and bin/worker
	go build -o bin/ ./cmd/platform ./cmd/worker

# The console is part of the binary. It is built when something it is made of is
# newer than what was built last.
WEB = web/admin
WEB_SOURCES = $(shell find $(WEB)/src $(WEB)/public $(WEB)/scripts -type f ! -name schema.d.ts ! -name '*.test.*' 2>/dev/null) \
	$(addprefix $(WEB)/,index.html package.json package-lock.json vite.config.ts tsconfig.json) internal/api/openapi.yaml

web: $(WEB)/dist/index.html ## Build the admin console into web/admin/dist
	@:

$(WEB)/dist/index.html: $(WEB)/node_modules/.package-lock.json $(WEB_SOURCES)
	cd $(WEB) && npm run --silent build

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	@command -v npm >/dev/null || { echo 'The console needs Node 20.19 or newer with npm: install it (https://nodejs.org, or `apt-get install nodejs npm`), then run make again.' >&2; exit 1; }
	cd $(WEB) && npm ci --no-audit --no-fund
	@touch $@

web-check: $(WEB)/node_modules/.package-lock.json ## Lint, type-check and test the console
	cd $(WEB) && npm run --silent lint && npm run --silent typecheck && npm run --silent test

# What is built and fetched first, and the console's tests, take one processor
# each for most of their time. Vet with -race shares its build with the tests.
# Beside the tests in Go the console's are too slow for their bounds.
test: need ## Run every test, as CI does
	@$(MAKE) --no-print-directory -j2 prepare web-check
	@$(MAKE) --no-print-directory web
	go vet -race ./...
	go test -race -p $(P) -timeout 20m ./...

# What starts whole machines of its own (set-up, end to end) is for `make test`.
SLOW = latchkey/internal/(embedded|testenv|e2e|bench)$$

check: ## Vet and run the short tests: under 2 minutes when warm
	go vet ./...
	go test -short -p $(P) -timeout 5m $$(go list ./... | grep -vE '$(SLOW)')

bench: need prepare ## Measure beside a plain SDK server, and the audit explorer on 1.5 million records
	go test -run '^$$' -bench . -timeout 30m ./internal/bench

conformance: need prepare ## Run the official MCP conformance suite through the platform and print the table
	go test -run TestConformanceThroughThePlatform -v ./internal/e2e

need: ## Check for (as root on Debian: install) what tests need
	@scripts/need

prepare: ## Build vaultd and fetch Node into the cache, once
	@go run ./scripts/prepare

runsc: bin/runsc ## Build gVisor's runtime into bin/, for LATCHKEY_SANDBOX=gvisor: about 3 minutes, once
	@:

bin/runsc: tools/runsc/go.mod
	@echo 'runsc: building gVisor, once; this takes about 3 minutes' >&2
	cd tools/runsc && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../../bin/runsc gvisor.dev/gvisor/runsc
