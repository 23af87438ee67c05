"""Runs the command line with short waits for providers' batches: ``python quick_batches.py python launcher.py …``."""

from __future__ import annotations

import sys

from engine.tasks import batch_orders, provider_batches

if __name__ == "__main__":
    batch_orders.SETTLE_SECONDS = 0.2  # before the workspace takes its limits from it
    provider_batches._FIRST_PAUSE, provider_batches._LONGEST_PAUSE = 0.05, 0.2
    import launcher

    sys.argv = sys.argv[2:]
    sys.exit(launcher.main())
