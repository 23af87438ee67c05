#!/bin/bash
# Adds to dist/release/: the parts of the program (CycloneDX, from the lock file) and the checksums of all files; writes
# dist/notes.md from CHANGELOG.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON_BIN:-python}
"$python" -m venv dist/.sbom
"$(echo dist/.sbom/*/python)" -m pip install -q cyclonedx-bom==7.5.0
mkdir -p dist/release
"$(echo dist/.sbom/*/cyclonedx-py)" requirements requirements.lock --pyproject pyproject.toml \
    --output-reproducible --of JSON -o dist/release/image-batch-console.cdx.json
(cd dist/release && rm -f SHA256SUMS && sha256sum -- * >../SHA256SUMS && mv ../SHA256SUMS .)
# The newest section of the changelog.
awk '/^## / { if (seen++) exit } seen' CHANGELOG.md >dist/notes.md
cat dist/release/SHA256SUMS
