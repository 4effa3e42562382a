# The only list of commands; `make help` prints it. CI calls `make ci`, nothing else.

# Outside the clone, so that a fresh checkout on a machine that built before starts warm.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/sigpost/target
PEERS   := $(CARGO_TARGET_DIR)/peers
DEBUG   := $(CARGO_TARGET_DIR)/debug
RELEASE := $(CARGO_TARGET_DIR)/release
export PEERS
export SIGPOST_BIN := $(DEBUG)/sigpost
CARGO   := cargo
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)

.DEFAULT_GOAL := help
.PHONY: help build run test test-deps test-queue fuzz lint fmt bench bench-micro bench-peers bench-logs bench-otlp soak dist ci clean

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the agent (development profile)
	$(CARGO) build -p agent

run: build ## start the sandbox and the agent with config/agent.yaml; no account, no network
	@tests/run-demo.sh $(DEBUG)/sigpost config/agent.yaml

test-deps: ## fetch the programs the tests talk to (Debian packages, unpacked under the target directory, not installed)
	@tests/peers/fetch.sh $(PEERS)

test: test-deps build ## every test: units, crates, the real binary against real peers
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --workspace --no-fail-fast
else
	$(CARGO) test --workspace --no-fail-fast
endif

test-queue: ## the queue's property, kill and damage tests, with their seeds and rounds printed
	$(CARGO) test -p queue -- --nocapture --test-threads=1
	$(CARGO) build -p agent
	SIGPOST_OTLP_KILL_ROUNDS=100 $(CARGO) test -p e2e --test otlp_receive kill_9 -- --nocapture
	SIGPOST_KILL_ROUNDS=50 SIGPOST_POWER_ROUNDS=20 $(CARGO) test -p e2e --test queue_catch_up --test queue_kill --test queue_destinations --test queue_damage --test queue_disk --test queue_page --test queue_power -- --nocapture

soak: ## ten minutes with a fast, a slow and a dead destination: memory, the ledger, and every item explained
	$(CARGO) build --release -p agent -p e2e --bins
	SIGPOST_BIN=$(RELEASE)/sigpost $(RELEASE)/soak

fuzz: ## fuzz what reads untrusted bytes: TARGET=name for one, SECONDS=120 for each; needs cargo-fuzz and nightly Rust
	tests/fuzz/run.sh "$(TARGET)" "$(or $(SECONDS),120)"

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fmt: ## format the code
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml

bench: bench-micro bench-peers bench-logs bench-otlp ## all benchmarks

bench-micro: ## criterion: parse, batch encode, remote-write encode, sign, queue append
	$(CARGO) bench -p model -p scrape -p remote-write -p aws -p queue

bench-peers: test-deps ## whole process against Debian's prometheus (agent mode) and vmagent: CPU per million samples, RSS, as ratios
	$(CARGO) build --release -p agent -p e2e --bins
	$(RELEASE)/bench-peers --sigpost $(RELEASE)/sigpost --peers $(PEERS)

bench-logs: ## whole process reading a large log file: CPU per GiB, RSS and lines/s for Loki, CloudWatch and S3, beside the floor
	$(CARGO) build --release -p agent -p e2e --bins
	SIGPOST_BIN=$(RELEASE)/sigpost $(RELEASE)/bench_logs

bench-otlp: ## whole process passing spans on: CPU per million over HTTP and gRPC, plain and gzip, and as X-Ray documents, beside the floor
	$(CARGO) build --release -p agent -p e2e --bins
	SIGPOST_BIN=$(RELEASE)/sigpost $(RELEASE)/bench_otlp

dist: ## the shipped artefact: thin LTO, stripped
	$(CARGO) build --profile dist -p agent

ci: lint test ## what .ci/run calls

clean: ## remove the target directory
	$(CARGO) clean
