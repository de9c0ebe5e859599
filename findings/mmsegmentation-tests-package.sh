#!/usr/bin/env bash
# Expected: an installed library leaves the name `tests` alone, so that `python -m tests.something`, run in the root of a
# project whose tests/ has no __init__.py, finds the project's own module.
# What happens: mmsegmentation's wheel installs a top-level package `tests`, which hides the project's folder: a regular
# package on the path comes before a namespace package, whatever their order.
# seen: mmsegmentation 1.2.2 installs tests/__init__.py: True
# seen: python -m tests.own: No module named tests.own
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --no-deps mmsegmentation==1.2.2
mkdir -p "$folder/project/tests"
echo 'print("the project'"'"'s own")' > "$folder/project/tests/own.py"
"$folder/env/bin/python" -c '
from importlib.metadata import distribution
found = distribution("mmsegmentation")
installs = any(str(file) == "tests/__init__.py" for file in found.files)
print(f"mmsegmentation {found.version} installs tests/__init__.py: {installs}")
assert installs
'
cd "$folder/project"
said=$("$folder/env/bin/python" -m tests.own 2>&1 || true)
echo "python -m tests.own: ${said##*: }"
case "$said" in *"No module named tests.own"*) ;; *) exit 1 ;; esac
