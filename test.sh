#!/bin/sh
# Checks everything: style, types, import rules, quick benchmarks, all other tests. Sets itself up, on Debian as root with
# the system packages too. Arguments go to pytest, and then only pytest runs, in one process:
# ./test.sh tests/engine -k sse
# CI=true: nothing may be skipped, and coverage is measured, which costs a quarter of the time.
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1
cd "$root" || exit 1
. scripts/find_python.sh
# Hundreds of processes are started here, and each would compile the program anew.
unset PYTHONDONTWRITEBYTECODE

packages='python3-venv python3-gi gir1.2-gtk-3.0 gir1.2-webkit2-4.1 chromium-headless-shell fonts-wqy-microhei xvfb xauth xdotool openbox dbus-daemon dbus-bin gnome-keyring'
missing=
if command -v dpkg-query >/dev/null 2>&1; then
    for package in $packages; do
        [ -n "$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | sed -n '/^ii/p')" ] ||
            missing="$missing $package"
    done
    # Node's own packages bring npm along, and hold Debian's away.
    command -v npm >/dev/null 2>&1 || missing="$missing nodejs npm"
fi
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then
        echo "test.sh: installing$missing"
        apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
            echo "test.sh: apt-get failed; tests that need$missing cannot run" >&2
    else
        echo "test.sh: NOT INSTALLED:$missing" >&2
        echo "test.sh: tests of the page or the window that need them will be SKIPPED. To run them:" >&2
        echo "    sudo apt install$missing" >&2
    fi
fi

venv=$root/.venv-test
if ! is_ready "$venv" "$root/requirements-dev.lock"; then
    find_python
    "$python" scripts/make_venv.py --lock requirements-dev.lock --venv "$venv" $python_site >/dev/null || exit $?
fi
PATH=$venv/bin:$PATH
export PATH
[ $# = 0 ] || exec "$venv/bin/python" -m pytest "$@"

failed=
check() {
    echo "== $*"
    "$venv/bin/python" -m "$@" || failed="$failed $1"
}
check ruff check .
check ruff format --check .
check mypy
echo "== lint-imports"
PYTHONPATH=$root "$venv/bin/python" -c 'from importlinter.cli import lint_imports_command as run; run()' ||
    failed="$failed lint-imports"
echo "== page checks"
if ! command -v npm >/dev/null 2>&1; then
    echo "test.sh: npm is not installed; the page's scripts are not checked" >&2
    [ -z "${CI:-}" ] || failed="$failed page-checks"
elif ! { cmp -s scripts/page_checks/package-lock.json scripts/page_checks/node_modules/.checked.lock ||
    { npm --prefix scripts/page_checks ci --no-audit --no-fund --silent &&
        cp scripts/page_checks/package-lock.json scripts/page_checks/node_modules/.checked.lock; }; } ||
    ! npm --prefix scripts/page_checks run --silent check; then
    failed="$failed page-checks"
fi
check pytest -q tests/bench # alone, since it compares times
[ -z "$failed" ] || echo "== FAILED:$failed (see above)"

# Two processes more than processors, for many tests wait for a browser, a window or a started program. A file's tests
# stay together, with what they share. Where a test hangs is told before its time limit ends the run, since those processes
# have nowhere to print what the limit finds.
processes=$("$venv/bin/python" -c 'import os; print(min((os.cpu_count() or 1) + 2, 6))')
"$venv/bin/python" -m pytest -n "$processes" --max-worker-restart=0 --dist=loadfile \
    --no-loadscope-reorder --ignore=tests/bench -o faulthandler_timeout=110 ${CI:+--cov --cov-report=term --cov-fail-under=80}
status=$?
[ -z "$failed" ] || exit 1
exit $status
