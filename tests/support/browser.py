"""Which browser opens the page in tests and benchmarks."""

from __future__ import annotations

import shutil

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
"""Path; None where there is none. The shell is the same engine without a window around its pages, at half the cost."""
