#!/usr/bin/env bash
# Fuzzes the formats of nix-compat with libFuzzer, on a stable compiler and without cargo-fuzz.
#
#   scripts/fuzz.sh                     every target for 60 seconds, one after the other
#   scripts/fuzz.sh nar                 one target for 60 seconds
#   scripts/fuzz.sh all 600             every target for 10 minutes
#
# What is found to be interesting grows in target/fuzz/corpus and is taken up by the next run; what fails is left in
# target/fuzz/artifacts, and the program is run on it with `target/fuzz/<host>/release/<target> <file>`. A target's
# starting points are kept in crates/nix-compat/fuzz/corpus: few, and small enough to be read.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$HOME/.cargo/bin:$PATH"

fuzz=crates/nix-compat/fuzz
target=${1:-all}
seconds=${2:-60}
out=${CARGO_TARGET_DIR:-$PWD/target/fuzz}
host=$(rustc -vV | sed -n 's/^host: //p')

if [ "$target" = all ]; then
  mapfile -t targets < <(find "$fuzz/fuzz_targets" -name '*.rs' -printf '%f\n' | sed 's/\.rs$//' | sort)
else
  targets=("$target")
fi

# What cargo-fuzz sets, save for the address sanitizer, which needs a nightly compiler and finds little where there is
# no unsafe code. Naming the host as target keeps the flags off build scripts.
flags=(
  --cfg fuzzing -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks -Cdebuginfo=1
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
)
RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=$out \
  cargo build --quiet --release --manifest-path "$fuzz/Cargo.toml" --target "$host" --bins

for name in "${targets[@]}"; do
  printf '== %s for %s s\n' "$name" "$seconds"
  # The first folder of these is written to, the other one is read.
  mkdir -p "$out/corpus/$name" "$out/artifacts/$name" "$fuzz/corpus/$name"
  options=(-max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1)
  if [ -f "$fuzz/dict/$name.dict" ]; then options+=(-dict="$fuzz/dict/$name.dict"); fi
  log=$out/$name.log
  if ! nice -n 19 "$out/$host/release/$name" "${options[@]}" -artifact_prefix="$out/artifacts/$name/" \
    "$out/corpus/$name" "$fuzz/corpus/$name" >"$log" 2>&1; then
    tail -n 40 "$log"
    printf '!! %s failed, see %s\n' "$name" "$log"
    exit 1
  fi
  grep -E '^(Done|stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb))' "$log"
done
