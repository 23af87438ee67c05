#!/bin/sh
# Builds dist/image-batch-console: see build/onefile.py. PYTHON_BIN chooses the Python, APP_NAME the file's name.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/scripts/find_python.sh"
find_python
exec "$python" "$root/build/onefile.py" window
