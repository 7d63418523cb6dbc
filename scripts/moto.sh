#!/usr/bin/env bash
# moto, an S3 server for the tests, in a Python environment of its own: target/moto-venv, or the folder that IGLU_MOTO names.
# Prints where moto_server is. Where it is there already, in the versions of moto-requirements.txt, nothing is fetched or changed.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(realpath -m "${IGLU_MOTO:-${CARGO_TARGET_DIR:-target}/moto-venv}")
requirements=scripts/moto-requirements.txt

# An environment works only where it was made, so the place belongs to what it was made of.
made_of() { printf '# %s\n' "$folder"; cat $requirements; }
made() { cmp -s <(made_of) "$folder/made-of" && [ -x "$folder/bin/moto_server" ] && "$folder/bin/python" -c '' 2>/dev/null; }

if ! made; then
  mkdir -p "$(dirname "$folder")"
  exec 9>"$folder.lock"
  flock 9
  # Somebody else may have made it meanwhile.
  if ! made; then
    python3 -m venv --clear "$folder" >&2
    # The list is complete: what it does not name is not needed for S3.
    "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps -r $requirements >&2
    made_of >"$folder/made-of"
  fi
fi
printf '%s\n' "$folder/bin/moto_server"
