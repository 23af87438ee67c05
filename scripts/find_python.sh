# shellcheck shell=sh disable=SC2154,SC2034 # $root comes from, and $python_site goes to, who sources it
# Finds the Python to build on. Sourced by start.sh and test.sh, which set $root first.
# POSIX sh and POSIX tools only.

# Prints the message $1 of the catalogue; the lines after it are $2, $3, ...
say() {
    said_key=$1
    shift
    case ${LC_ALL:-${LC_MESSAGES:-${LANG:-}}} in
    zh*) said_in=zh-CN ;;
    '' | C | C.* | POSIX) said_in='zh-CN en' ;;
    *) said_in=en ;;
    esac
    for said_language in $said_in; do
        sed -n 's/^ *"start\.'"$said_key"'": "\(.*\)",\{0,1\}$/\1/p' "$root/assets/messages/$said_language/start.json" >&2
    done
    for said_line; do printf '    %s\n' "$said_line" >&2; done
}

is_new_enough() {
    "$1" -E -S -c 'import sys; sys.exit(sys.version_info < (3, 11))' </dev/null >/dev/null 2>&1
}

# A system Python that sees GTK and WebKit gives the window for free.
has_window_toolkit() {
    "$1" -E -P -c 'import sys, gi, venv, ensurepip
if sys.version_info < (3, 11): sys.exit(1)
gi.require_version("Gtk", "3.0")
try: gi.require_version("WebKit2", "4.1")
except ValueError: gi.require_version("WebKit2", "4.0")' </dev/null >/dev/null 2>&1
}

# The line that installs Python on this system.
install_line() {
    [ "$(uname -s 2>/dev/null)" != Darwin ] || { echo 'brew install python@3.13'; return; }
    install_ids=
    [ ! -r /etc/os-release ] || install_ids=$(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}")
    case " $install_ids " in
    *' debian '* | *' ubuntu '*) echo 'sudo apt install python3 python3-venv' ;;
    *' fedora '* | *' rhel '*) echo 'sudo dnf install python3.13' ;;
    *' arch '*) echo 'sudo pacman -S python' ;;
    *suse*) echo 'sudo zypper install python313' ;;
    *' alpine '*) echo 'apk add python3' ;;
    *) echo 'https://www.python.org/downloads/' ;;
    esac
}

# PYTHON_BIN comes first. SYSTEM_PYTHON names another system Python to look for the toolkit in; empty looks in none.
# Sets $python, and $python_site to the option that lets a venv see the system's packages where that is wanted.
find_python() {
    python_site=
    if [ -n "${PYTHON_BIN:-}" ]; then
        is_new_enough "$PYTHON_BIN" || { say python_bin "PYTHON_BIN=$PYTHON_BIN"; exit 21; }
        python=$PYTHON_BIN
        return
    fi
    python=${SYSTEM_PYTHON-/usr/bin/python3}
    if [ -n "$python" ] && has_window_toolkit "$python"; then
        python_site=--system-site-packages
        return
    fi
    for python in python3.13 python3.12 python3.11 python3 python; do
        ! is_new_enough "$python" || return 0
    done
    say no_python "$(install_line)"
    exit 20
}

# True when the venv $1 holds what the lock file $2 names and its Python still runs; costs one start of Python.
is_ready() {
    [ -x "$1/bin/python" ] && cmp -s "$2" "$1/ready.lock" || return 1
    { read -r ready_version && read -r ready_wanted || :; } <"$1/ready.python" || return 1
    [ -z "${PYTHON_BIN:-}" ] || [ "$ready_wanted" = "$PYTHON_BIN" ] || return 1
    [ "$("$1/bin/python" -E -S -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$ready_version" ]
}
