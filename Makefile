# Two targets do it all on a fresh machine: `make run` and `make test`. `make help` lists the rest.
PROFILE ?= release
CARGO_FLAGS := $(if $(filter release,$(PROFILE)),--release,)
BIN := target/$(if $(filter release,$(PROFILE)),release,debug)

.PHONY: help run test lint services bench setup setup-tests fmt

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

run: setup ## Fetch what is needed, build, and serve on http://127.0.0.1:8081
	cargo build $(CARGO_FLAGS) -p embermesh-standalone
	$(BIN)/embermesh up $(ARGS)

test: setup-tests ## Every test, on real servers
	cargo build --workspace --bins
	cargo test --workspace --no-fail-fast

lint: ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

services: setup ## The five services as five processes on loopback ports 8081 to 8085
	cargo build $(CARGO_FLAGS) --bins
	scripts/services.sh $(BIN)

bench: setup ## Load bench against a byte-forwarding proxy; writes docs/bench.md
	cargo build --release -p embermesh-standalone -p embermesh-bench
	scripts/bench.sh

setup: ## PostgreSQL with pgvector and the model weights, into .tools
	scripts/setup.sh

setup-tests: ## The above, Redis, and the Python clients that the tests run
	scripts/setup.sh --tests

fmt:
	cargo fmt --all
