#!/usr/bin/env bash
# Every check, or with `lint` only those that run nothing. Ends with the sum of what passed and failed.
set -uo pipefail
cd "$(dirname "$0")/.."
# rustup's override names the toolchain of this folder; cargo's own folder holds the tools.
export PATH="$PWD/node_modules/.bin:$HOME/.cargo/bin:$PATH"

passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# check NAME COMMAND…: one check, counted as one.
check() {
  local name=$1 started=$SECONDS
  shift
  printf '== %s\n' "$name"
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); printf '!! %s failed\n' "$name"; fi
  printf '   (%ss)\n' $((SECONDS - started))
}

# suite NAME PASSED-PATTERN FAILED-PATTERN COMMAND…: a test runner whose closing counts are added up.
suite() {
  local name=$1 passed_pattern=$2 failed_pattern=$3 started=$SECONDS status ok bad
  shift 3
  printf '== %s\n' "$name"
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  ok=$(grep -oP "$passed_pattern" "$log" | tail -1)
  bad=$(grep -oP "$failed_pattern" "$log" | tail -1)
  passed=$((passed + ${ok:-0}))
  # A runner that failed without counting, or that ran nothing, failed.
  if [ "$status" != 0 ] || [ "${ok:-0}" = 0 ]; then failed=$((failed + (${bad:-0} > 0 ? ${bad:-0} : 1))); fi
  printf '   (%ss)\n' $((SECONDS - started))
}

check "formatting" cargo fmt --all --check
check "lints" cargo clippy --quiet --all-targets -- -D warnings
check "lints without traces" cargo clippy --quiet -p iglu-server --no-default-features -- -D warnings
check "lints of the browser's side" cargo clippy --quiet -p iglu-frontend --target wasm32-unknown-unknown -- -D warnings
check "fuzz targets build" env CARGO_TARGET_DIR=target/fuzz cargo check --quiet --manifest-path crates/nix-compat/fuzz/Cargo.toml
check "licences and bans" cargo deny --log-level error check licenses bans sources

if [ "${1:-}" != lint ]; then
  check "the site" make --no-print-directory target/site/.release
  check "wasm of at most 450 kB as brotli" test "$(wc -c <target/site/pkg/iglu.wasm.br 2>/dev/null || echo 999999)" -le 450000
  # Building the tests also builds the server and the client that they and the browser tests run: one set of features.
  suite "Rust, with real nix and PostgreSQL" '\d+(?= passed)' '\d+(?= failed)' \
    cargo nextest run --no-fail-fast --status-level fail --final-status-level fail
  suite "pages in Chromium" '^\s+\K\d+(?= passed)' '^\s+\K\d+(?= failed)' npx playwright test --config end2end/playwright.config.ts
fi

printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
