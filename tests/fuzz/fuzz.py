"""Coverage-guided fuzzing of one target: python tests/fuzz/fuzz.py TARGET [-runs=N] [-max_total_time=SECONDS] [FOLDER]

Needs atheris (Linux): ``pip install atheris``. What it finds is written beside the working folder as ``crash-…``.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["engine", "bridge"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run until the limit that libFuzzer was given."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
