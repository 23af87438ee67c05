#!/bin/bash
# A start from a checkout, as a person makes it, on any system: set-up, the demo without a page, the results.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=dist/ci_start
rm -rf "$out"
mkdir -p "$out"
export APP_DATA_DIR="$PWD/$out/data" PYTHON_BIN="${PYTHON_BIN:-python}"
case "$(uname -s)" in
MINGW* | MSYS* | CYGWIN*) ./start.cmd run --demo -o "$out/edited" ;;
*) ./start.sh run --demo -o "$out/edited" ;;
esac
made=$(find "$out/edited" -type f | wc -l)
echo "$made pictures"
[ "$made" -ge 12 ]
