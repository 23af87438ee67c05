#!/bin/bash
# Every way to install the program, from this checkout and from the wheel, and every place to start it from that lacks
# something: each edits the demo's pictures, or says in one line what to set. One line for each; fails where one did
# neither. `scripts/installs.sh starts` tries the places alone. Linux, as root (the starts as somebody else need it);
# takes the packages from the network. PUBLIC_PYTHON: one that every user of the machine may run.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
python=${PYTHON_BIN:-python3}
place=$(mktemp -d /tmp/installs.XXXXXX) && chmod 755 "$place" || exit 1
trap 'rm -rf "$place"' EXIT
export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_BREAK_SYSTEM_PACKAGES=1 LANG=C.UTF-8
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
failed=0

# A copy without environments, so that nothing that lies here helps.
git -C "$root" archive --format=tar --prefix=checkout/ HEAD | tar -x -C "$place" || exit 1
"$python" -m venv "$place/tools" && "$place/tools/bin/pip" install -q build pipx uv || exit 1
tools=$place/tools/bin
(cd "$place/checkout" && "$tools/python" -m build -q --wheel --outdir "$place" .) || exit 1
wheel=$(echo "$place"/*.whl)

# try NAME EXPECTED COMMAND...: starts the program; EXPECTED is what its one line says where it cannot
try() {
    name=$1 expected=$2
    shift 2
    out=$place/out && rm -rf "$out" && mkdir -m 777 "$out"
    (cd "$out" && timeout 300 "$@" run --demo -o "$out/edited") >"$place/log" 2>&1
    status=$?
    made=$(find "$out" -name '*.png' -o -name '*.jpg' -o -name '*.webp' | grep -c edited)
    if [ "$made" -ge 12 ] && [ $status = 0 ]; then
        verdict="$made pictures"
    elif [ $status != 0 ] && [ "$(grep -c . "$place/log")" -le 2 ] && grep -q "$expected" "$place/log"; then
        verdict="exit $status: $(tr '\n' ' ' <"$place/log")"
    else
        verdict="FAILED, exit $status, $made pictures: $(tail -3 "$place/log" | tr '\n' ' ')"
        failed=1
    fi
    echo "$name: $verdict"
}
none='nothing may be said'

kinds='checkout wheel'
[ "${1:-}" != starts ] || kinds=
for kind in $kinds; do
    from=$place/checkout
    [ $kind = checkout ] || from=$wheel
    d=$place/$kind-ways && mkdir "$d"
    "$python" -m venv "$d/venv" && "$d/venv/bin/pip" install -q "$from"
    try "venv, $kind" "$none" "$d/venv/bin/image-batch-console"
    PYTHONUSERBASE=$d/user "$python" -m pip install -q --user "$from"
    try "--user, $kind" "$none" env PYTHONUSERBASE="$d/user" "$d/user/bin/image-batch-console"
    "$python" -m pip install -q --target "$d/target" "$from"
    try "--target, $kind" "$none" env PYTHONPATH="$d/target" "$d/target/bin/image-batch-console"
    "$python" -m pip install -q --ignore-installed --prefix "$d/prefix" "$from"
    packages=$(find "$d/prefix" -type d \( -name site-packages -o -name dist-packages \) | head -1)
    try "--prefix, $kind" "$none" env PYTHONPATH="$packages" "$(find "$d/prefix" -name image-batch-console -path '*bin*')"
    export PIPX_HOME=$d/pipx PIPX_BIN_DIR=$d/pipx-bin
    "$tools/pipx" install -q --python "$python" "$from" >/dev/null 2>&1
    try "pipx, $kind" "$none" "$d/pipx-bin/image-batch-console"
    export UV_CACHE_DIR=$place/uv-cache UV_TOOL_DIR=$d/uv-tools UV_PYTHON=$version UV_PYTHON_DOWNLOADS=never
    try "uvx, $kind" "$none" "$tools/uvx" -q --from "$from" image-batch-console
done

# Without what a person usually has. 4242 has no account.
public=${PUBLIC_PYTHON:-/usr/bin/python3}
"$public" -m venv "$place/public" && "$place/public/bin/pip" install -q "$wheel" || exit 1
console=$place/public/bin/image-batch-console
less=(--clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all)
stranger=(setpriv --reuid 4242 --regid 4242 "${less[@]}" env -i "PATH=$PATH" LANG=C.UTF-8)
nobody=(setpriv --reuid "$(id -u nobody)" --regid 4242 "${less[@]}" env -i "PATH=$PATH" LANG=C.UTF-8)
chmod -R a+rX "$place/public" "$place/checkout"
mkdir -m 777 "$place/home"
try "no HOME, no account" APP_DATA_DIR "${stranger[@]}" "$console"
try "no HOME, no account, APP_DATA_DIR" "$none" "${stranger[@]}" APP_DATA_DIR="$place/home/4242" "$console"
try "no HOME, an account without a home" APP_DATA_DIR "${nobody[@]}" "$console"
try "HOME that is not there" APP_DATA_DIR "${stranger[@]}" HOME=/not/there "$console"
try "no account, HOME" "$none" "${stranger[@]}" HOME="$place/home" "$console"
try "read-only checkout, start.sh" "$none" "${stranger[@]}" HOME="$place/home" PYTHON_BIN="$public" \
    "$place/checkout/start.sh"
try "read-only checkout, no HOME, start.sh" HOME "${stranger[@]}" \
    PYTHON_BIN="$public" "$place/checkout/start.sh"
# As a container without root: all read-only but one folder, no capabilities, no account.
contained() { unshare --mount sh -c 'mount --bind "$1" "$1" && mount -o remount,ro,bind / && shift && exec "$@"' sh "$@"; }
if unshare --mount true 2>/dev/null; then
    export -f contained
    try "container, read-only root, no account" APP_DATA_DIR bash -c 'contained "$@"' bash "$place/out" \
        "${stranger[@]}" TMPDIR="$place/out" "$console"
    try "container, read-only root, APP_DATA_DIR" "$none" bash -c 'contained "$@"' bash "$place/out" \
        "${stranger[@]}" TMPDIR="$place/out" APP_DATA_DIR="$place/out/data" "$console"
else
    echo "no mount namespaces here: the container was not tried"
fi
exit $failed
