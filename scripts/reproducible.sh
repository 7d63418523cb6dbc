#!/usr/bin/env bash
# Builds what is committed twice, in folders of different names, and compares the bytes. Takes two release builds and their disk.
set -euo pipefail
cd "$(dirname "$0")/.."

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
for folder in "$place/one" "$place/quite/another/place"; do
  git clone -q . "$folder"
  (cd "$folder" && make --no-print-directory release >"$place/log" 2>&1) || { tail -50 "$place/log"; exit 1; }
  sha256sum "$folder/target/release/iglu" "$folder"/target/site/pkg/iglu*.wasm | sed "s|$folder/||" | sort >"$place/sums.$(basename "$folder")"
  rm -rf "$folder"
done
diff "$place/sums.one" "$place/sums.place" || { echo "two builds of one source differ"; exit 1; }
cat "$place/sums.one"
echo "two builds of one source are the same"
