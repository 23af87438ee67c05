#!/bin/sh
# Starts the program from a checkout: sets up .venv when it is missing or old, then hands everything on to launcher.py.
# PYTHON_BIN chooses the Python. Exit codes of the set-up: 20-28, see README.md; all others are the program's.
set -u

self=$0
while [ -L "$self" ]; do
    link=$(readlink "$self")
    case $link in
    /*) self=$link ;;
    *) self=$(dirname "$self")/$link ;;
    esac
done
root=$(CDPATH='' cd -- "$(dirname -- "$self")" && pwd -P) || exit 25
. "$root/scripts/find_python.sh"

lock=$root/requirements.lock
case $(uname -s 2>/dev/null) in
Darwin) cache=${HOME:-}/Library/Caches ;;
*) cache=${XDG_CACHE_HOME:-${HOME:-}/.cache} ;;
esac
# The second place is for a checkout that may not be written to.
for venv in "$root/.venv" "$cache/image-batch-console/venv"; do
    ! is_ready "$venv" "$lock" || exec "$venv/bin/python" "$root/launcher.py" "$@"
done

find_python
venv=$("$python" "$root/scripts/make_venv.py" --lock "$lock" --venv "$root/.venv" \
    --fallback "$cache/image-batch-console/venv" $python_site) || exit $?
exec "$venv/bin/python" "$root/launcher.py" "$@"
