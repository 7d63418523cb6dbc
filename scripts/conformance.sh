#!/usr/bin/env bash
# Makes every conformance check with every client there is, and docs/conformance.md from the results. The server is IGLU_BIN, or what
# `cargo build -p iglu-server` leaves. Ends with the failure of the checks, after the table is written.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$HOME/.cargo/bin:$PATH"
export IGLU_CONFORMANCE_OUT=${IGLU_CONFORMANCE_OUT:-$PWD/target/conformance}
export IGLU_FULL=1

# What an earlier run left may be of checks that are no more.
rm -rf "$IGLU_CONFORMANCE_OUT"
# All packages are selected, so that they are built as for every other test; that also builds the program that makes the table.
cargo nextest run -E 'binary(conformance) + test(large_nar_by_attic)' --no-fail-fast
status=$?
table=$("${CARGO_TARGET_DIR:-target}/debug/conformance-table") || exit 1
printf '%s\n' "$table" >docs/conformance.md
exit "$status"
