#!/bin/sh
# Writes requirements.lock and requirements-dev.lock anew from pyproject.toml: exact versions with hashes, for every
# system and Python 3.11+. Arguments go to the resolver: ./scripts/lock.sh --upgrade-package httpx
set -eu
cd "$(dirname "$0")/.."
tool=dist/.lock
[ -x "$tool/bin/uv" ] || { "${PYTHON_BIN:-python3}" -m venv "$tool" && "$tool/bin/python" -m pip install -q uv==0.13.9; }
lock() {
    UV_CUSTOM_COMPILE_COMMAND=scripts/lock.sh "$tool/bin/uv" pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-emit-find-links "$@"
}
lock pyproject.toml --output-file requirements.lock "$@"
lock pyproject.toml --extra dataset --extra cluster --extra publish --group dev --constraint requirements.lock --output-file requirements-dev.lock "$@"
