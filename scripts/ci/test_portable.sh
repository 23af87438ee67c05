#!/bin/bash
# The tests that need neither Linux nor a browser, on any system: the engine and the doors.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON_BIN:-python}
venv=$("$python" scripts/make_venv.py --lock requirements-dev.lock --venv .venv-test | tail -n 1)
bin=$venv/bin
[ -d "$bin" ] || bin=$venv/Scripts
"$bin/python" -m pytest -q -n logical --dist=loadfile -m "not browser and not window and not packaging" "$@" tests/engine tests/bridge
