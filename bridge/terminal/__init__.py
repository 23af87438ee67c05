"""The command line: flags, `run`, `serve` and its status panel."""
