"""Runs first in a one-file program: what we start (browser, WebKit's helpers) shall find the system's libraries.

The bootloader points the loader's search path at the unpacked files. This process has read it already.
"""

import os


def _restore(name: str) -> None:
    before = os.environ.pop(f"{name}_ORIG", None)
    if before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before


_restore("LD_LIBRARY_PATH")
