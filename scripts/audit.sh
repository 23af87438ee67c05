#!/bin/sh
# Holds every locked dependency against the databases of known weaknesses: the program's and the tests' (pip-audit, in an
# environment of its own) and those of the page's checks (npm audit). Needs the network; fails where one is named, and
# where one could not be looked up.
set -u
cd "$(dirname "$0")/.." || exit 1
tool=dist/.audit
[ -x "$tool/bin/pip-audit" ] || { "${PYTHON_BIN:-python3}" -m venv "$tool" && "$tool/bin/python" -m pip install -q pip-audit==2.10.1; } || exit 1
failed=
for lock in requirements.lock requirements-dev.lock; do
    echo "== $lock"
    "$tool/bin/pip-audit" --strict --disable-pip --require-hashes --requirement "$lock" || failed=1
done
echo "== page checks"
npm --prefix scripts/page_checks audit --package-lock-only || failed=1
[ -z "$failed" ] || { echo "audit.sh: see above" >&2; exit 1; }
