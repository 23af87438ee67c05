"""Structs are learned before there are threads: two that decode one for the first time end the process with SIGSEGV."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEARNED_LATE = """
import contextlib, sys, threading
from pathlib import Path
import msgspec
import launcher
from engine.tasks.edit import Submitted
from engine.workspace import Workspace

def late():
    found, below = [], [msgspec.Struct]
    while below:
        kind = below.pop()
        below += kind.__subclasses__()
        called = set()
        sys.setprofile(lambda frame, *_: called.add(frame.f_code.co_name))
        with contextlib.suppress(TypeError, NameError):
            msgspec.json.Decoder(kind)
            if "get_class_annotations" in called and kind.__module__.startswith(("engine", "bridge")):
                found.append(kind.__name__)
        sys.setprofile(None)
    return found

def decode():
    together.wait()
    with contextlib.suppress(msgspec.ValidationError):
        msgspec.json.decode(b'{"task_id": "a", "config": {"api_url": "x"}, "ticket": {"others": [{}]}}', type=Submitted)

with contextlib.closing(Workspace(Path(sys.argv[1]))):
    sys.setswitchinterval(1e-6)
    together = threading.Barrier(8)
    threads = [threading.Thread(target=decode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(late())
"""


def test_a_workspace_has_learned_every_shape(tmp_path: Path) -> None:
    """Once it is open, threads may decode the same Struct at once: none is learned by them."""
    command = [sys.executable, "-c", LEARNED_LATE, str(tmp_path / "data")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
