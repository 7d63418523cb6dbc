# The commands of a developer. Each does its own set-up; what is there already is not done again.

export PATH := $(CURDIR)/node_modules/.bin:$(HOME)/.cargo/bin:$(PATH)
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

site_sources := $(shell find app frontend style public crates/api crates/nix-compat/src -type f 2>/dev/null) Cargo.toml Cargo.lock

.PHONY: release reproducible sbom audit run test test-replicas test-soak test-nix-all test-faults conformance dev build lint bench test-big fuzz screenshots setup setup-test

## Sets up, builds, and starts Iglu on 127.0.0.1:8080 with its data in ./data
run: build
	./target/release/iglu serve --data ./data

## One self-contained program: target/release/iglu
build: setup target/site/.release
	cargo build --release -p iglu-server --features embed

## The same, without a trace of where it was built: the same source and compiler give the same bytes anywhere
# The variable takes the place of the flags in .cargo/config.toml, which are said again.
release: export RUSTFLAGS = --cfg erase_components --remap-path-prefix=$(CURDIR)=/iglu --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo
release: setup
	rm -f target/site/.release
	$(MAKE) --no-print-directory build

## Two release builds in two folders, compared
reproducible: setup
	scripts/reproducible.sh

## What is in it: target/iglu.cdx.json, as CycloneDX
sbom:
	command -v cargo-cyclonedx >/dev/null || cargo install -q --locked cargo-cyclonedx@0.5.9
	cargo cyclonedx --quiet --format json --manifest-path server/Cargo.toml --override-filename iglu.cdx
	mkdir -p target && mv server/iglu.cdx.json target/
	# The tool writes one for each member of the workspace.
	find app bench crates end2end frontend server -name iglu.cdx.json -delete

## Known holes in what is in it; needs the list of them from the network
audit: setup-test
	cargo deny --log-level error check advisories

## Every check there is
test: setup-test
	scripts/test.sh

# What one process remembers, what nginx answers by itself, and what is counted in one folder, cannot be asked of three servers behind nginx.
not_of_replicas := test(20000_paths) + test(of_a_million) + test(unpacks_without_end) + test(/nix_(15|20|32|35|40)_/)

## The checks of the three protocols, and of what survives kills, through three servers over PostgreSQL and S3; then five minutes of kills
test-replicas: setup-test
	IGLU_TEST_REPLICAS=3 cargo nextest run -p iglu-end2end --test conformance --no-fail-fast -E 'not ($(not_of_replicas))'
	IGLU_TEST_REPLICAS=3 cargo nextest run -p iglu-end2end --test faults --no-fail-fast \
		-E 'test(kills::) - test(cachix_push) + test(a_removal_by_hand) + test(a_collection) + test(a_backup) + test(the_first_start)'
	IGLU_REPLICA_SECONDS=300 cargo nextest run -p iglu-end2end --test replicas --no-fail-fast

## What clients do, with three releases of the real Nix; makes chroots for two of them (as root; 0.7 GB below IGLU_NIX_ROOTS)
test-nix-all: export IGLU_NIX_ROOTS ?= /var/tmp/iglu-nix-roots
test-nix-all: setup-test
	scripts/nix-roots.sh
	cargo nextest run -E 'binary(nix_all) + binary(conformance)' --no-fail-fast

## Every check of the three protocols with every client, and docs/conformance.md from it; needs the chroots of test-nix-all
conformance: export IGLU_NIX_ROOTS ?= /var/tmp/iglu-nix-roots
conformance: setup-test build
	scripts/nix-roots.sh
	IGLU_BIN=$(CURDIR)/target/release/iglu scripts/conformance.sh

## Everything that may break, broken: among it 200 rounds of pushes, readers and collections that kill -9 ends
test-faults: export IGLU_FULL = 1
test-faults: setup-test
	cargo nextest run -E 'binary(faults)' --no-fail-fast --success-output final

## An hour of what a team does, at one server, with its memory and descriptors watched; then five times as much as it has room for
test-soak: build
	IGLU_SOAK_SECONDS=$(or $(SOAK_SECONDS),3600) IGLU_BIN=$(CURDIR)/target/release/iglu \
		cargo nextest run -p iglu-end2end -E 'binary(soak) + test(five_times)' --test-threads 1 --success-output final --no-fail-fast

## Formatting, lints, licences
lint: setup-test
	scripts/test.sh lint

## Rebuilds and reloads on every change, on 127.0.0.1:8080 with its data in ./data
dev: setup
	cargo leptos watch --split -- serve

## Iglu beside static nginx over the same files
bench: build
	scripts/setup.sh bench
	cargo build --release -p iglu-bench
	IGLU_BIN=$(CURDIR)/target/release/iglu ./target/release/iglu-bench

## A 5 GiB NAR in and out by every way, with the server's memory watched; takes many minutes and 30 GB of disk
test-big: build
	IGLU_BIG=1 IGLU_BIN=$(CURDIR)/target/release/iglu cargo nextest run --release -p iglu-end2end -E 'test(big)' --no-capture

## Every fuzz target for FUZZ_SECONDS, or one of them: `make fuzz TARGET=nar FUZZ_SECONDS=600`
fuzz: setup-test
	scripts/fuzz.sh $(or $(TARGET),all) $(or $(FUZZ_SECONDS),60)

## Pictures of every page into docs/screenshots: both themes, wide and narrow
screenshots: setup-test target/site/.release
	cargo build -p iglu-server -p iglu-end2end
	SCREENSHOTS=$(CURDIR)/docs/screenshots npx playwright test --config end2end/playwright.config.ts --project=screenshots

setup:
	scripts/setup.sh build

setup-test:
	scripts/setup.sh test

# The site: wasm, script and style, each also compressed once and for all.
target/site/.release: $(site_sources) scripts/compress-site.mjs
	cargo leptos build --release --frontend-only --split
	node scripts/compress-site.mjs target/site
	touch $@
