# Two targets do it all on a fresh machine: `make run` and `make test`. `make help` lists the rest.
PROFILE ?= release
CARGO_FLAGS := $(if $(filter release,$(PROFILE)),--release,)
BIN := target/$(if $(filter release,$(PROFILE)),release,debug)
# what cargo selects decides the features of every dependency: one selection, one build of each
ALL := --workspace --bins
# named, as wherever a profile is made or used: it is part of every symbol's name
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
RUN_SELECTS ?= -p embermesh-standalone

.PHONY: help run test docs-test lint services profile bench bench-search ingest migration rounds faults replicas away rolling hosts setup setup-tests manifests fmt

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: setup ## Fetch what is needed, build, and serve on http://127.0.0.1:8081
	cargo build $(CARGO_FLAGS) $(RUN_SELECTS)
	$(BIN)/embermesh up $(ARGS)

test: setup-tests ## Every test, on real servers
	cargo build $(ALL) --tests
	cargo test $(ALL) --tests --no-fail-fast

docs-test: setup-tests ## Every command of the README and of docs/, run as printed
	cargo build $(ALL) --tests
	cargo test $(ALL) --test it readme::

lint: ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

services: setup ## The five services as five processes on loopback ports 8081 to 8085
	cargo build $(CARGO_FLAGS) $(ALL)
	scripts/services.sh $(BIN)

profile: setup ## What the load bench does most, for release builds to be laid out by; writes profile/embermesh.profdata
	cargo build --profile dist --workspace --bin bench-load --bin bench-proxy
	scripts/profile.sh

bench: profile ## Load bench of a release build against a byte-forwarding proxy; writes docs/bench.md
	RUSTFLAGS="-Cprofile-use=$(CURDIR)/profile/embermesh.profdata" \
	cargo build --profile dist --workspace --bin embermesh --target $(HOST) --target-dir target/profiled
	scripts/bench.sh

bench-search: setup ## Search bench on 100,000 real texts, beside plain pgvector; writes docs/search.md
	cargo build --release --workspace --bin embermesh-vector-store --bin bench-search
	scripts/search.sh $(ARGS)

ingest: setup ## 100 rounds of kill -9 while rows are stored; writes docs/ingest.md
	cargo build --release --workspace --bin embermesh-vector-store --bin bench-ingest
	scripts/ingest.sh $(ARGS)

migration: setup ## A migration of 20,000 rows under 20 rounds of kill -9; writes its figures into docs/migrations.md
	cargo build --release --workspace --bins
	scripts/migration.sh $(ARGS)

rounds: setup-tests ## Outages, background errors and rate limits at full length; writes docs/rounds.md
	cargo build --release $(ALL)
	scripts/rounds.sh

faults: setup-tests ## 1,000 rounds of kill -9 under load; writes docs/faults.md
	cargo build --release $(ALL)
	scripts/faults.sh $(ARGS)

replicas: setup-tests ## 11,000 reads after their write while replicas are killed, stopped, paused, delayed, frozen, promoted
	cargo build $(ALL) --tests
	EMBERMESH_REPLICA_CHECKS=11000 cargo test $(ALL) --test it whatever_replicas_do -- --nocapture

away: setup-tests ## Admin and its database stopped for ten minutes; writes docs/away.md
	cargo build $(ALL) --tests
	scripts/away.sh $(ARGS)

rolling: setup-tests ## Two replicas of each service restarted one by one under load; writes docs/rolling.md
	cargo build --release $(ALL)
	cargo build $(ALL) --tests
	scripts/rolling.sh

hosts: setup-tests ## Services on hosts of their own (network namespaces, needs root), each cut off once; writes docs/hosts.md
	cargo build $(ALL) --tests
	scripts/hosts.sh

setup: ## PostgreSQL with pgvector and the model weights, into .tools
	scripts/setup.sh

setup-tests: ## The above, Redis, Prometheus, PostgreSQL 15, and the Python that the tests run
	scripts/setup.sh --tests

manifests: ## k8s/ and the dashboards, written anew from their sources (needs helm)
	.tools/python/bin/python k8s/render.py
	monitoring/dashboards.py

fmt:
	cargo fmt --all
