#!/bin/bash
# Builds both one-file programs here, starts each once, and lays them into dist/release/ under the name of this system.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON_BIN:-python}
case "$(uname -s)" in
Linux) system=linux ;;
Darwin) system=macos ;;
*) system=windows ;;
esac
machine=$(uname -m)
mkdir -p dist/release dist/ci_build
for variant in ${VARIANTS:-window slim}; do
    if [ "$variant" = window ] && [ "$system" = linux ] && [ "$(id -u)" != 0 ]; then
        sudo apt-get update -qq
        sudo apt-get install -y -qq --no-install-recommends python3-gi gir1.2-gtk-3.0 gir1.2-webkit2-4.1 \
            libgirepository1.0-dev libcairo2-dev
    fi
    name=image-batch-console-$system-$machine
    [ "$variant" = window ] || name=$name-slim
    APP_NAME=$name "$python" build/onefile.py "$variant"
    made=dist/$name
    [ -f "$made" ] || made=$made.exe
    rm -rf dist/ci_build/edited
    APP_DATA_DIR="$PWD/dist/ci_build/data" "$made" run --demo -o dist/ci_build/edited
    [ "$(find dist/ci_build/edited -type f | wc -l)" -ge 12 ]
    cp "$made" dist/release/
done
ls -l dist/release
