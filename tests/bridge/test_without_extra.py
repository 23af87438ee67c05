"""Without the extra the program starts and works; shift, zoom and likeness are left out, and the page says how to add
them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bridge.app import App
from bridge.environment import read_environment
from bridge.open_app import load_messages, version
from engine.dataset.measure import EXTRA_PACKAGES
from engine.errors import Code, InvalidInput
from tests.support.sets import pair

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import json, sys
from pathlib import Path
from bridge.app import App
from bridge.open_app import load_messages, version
from bridge.environment import read_environment
from bridge.usecases.common import Context, Nothing
from bridge.usecases.datasets import list_trainers
from engine.dataset.measure import Measurer, can_register
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.pairs import Pair
from engine.dataset.preflight import Wanted, inspect
import msgspec
pairs = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Pair])
cache = MeasurementCache(Path(sys.argv[1]) / "notes.db")
report = inspect(pairs, Wanted(), Measurer(cache), registered=can_register())
cache.close()
data = Path(sys.argv[1]) / "data"
data.mkdir()
with App(data, read_environment({}), load_messages(), version=version()) as app:
    extra = list_trainers(Context(app, "en"), Nothing()).extra
print(json.dumps({
    "found": [(f.pair_id, f.kind) for f in report.findings], "registered": report.registered,
    "likeness": [n.likeness for n in report.numbers.values()], "extra": extra.message if extra else None,
    "loaded": [name for name in ("cv2", "numpy") if name in sys.modules],
}))
"""


def bare_packages(folder: Path) -> Path:
    """The installed packages without those of the extra."""
    folder.mkdir()
    for path in [Path(entry) for entry in sys.path if entry.endswith("site-packages")]:
        for package in path.iterdir():
            if not package.name.lower().startswith(("cv2", "numpy", "opencv")) and package.suffix != ".pth":
                link = folder / package.name
                if not link.exists():
                    link.symlink_to(package)
    return folder


def test_what_pillow_can_tell_is_told(tmp_path: Path) -> None:
    """Blank and unchanged results are found all the same, others are not judged, and the install line is shown."""
    good = pair(tmp_path, 1)
    blank = pair(tmp_path, 2, target=np.zeros((240, 320, 3), np.uint8))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(bare_packages(tmp_path / "packages"))])}
    done = subprocess.run(
        [sys.executable, "-S", "-c", CODE, str(tmp_path)],
        input=msgspec.json.encode([good, blank]),
        capture_output=True,
        cwd=tmp_path,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert told["found"] == [["r2", "blank"]]
    assert told["registered"] is False
    assert told["likeness"] == [None, None]
    assert f'"{sys.executable}" -m pip install numpy opencv-python-headless' in told["extra"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["dataset"]
    assert [re.match(r"[\w-]+", one)[0] for one in extras] == list(EXTRA_PACKAGES)  # type: ignore[index]
    assert told["loaded"] == []


@pytest.mark.parametrize("missing", ["engine.cluster.services", "cryptography"])
def test_workers_here_without_their_extra_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Neither a traceback nor ports that are open to whoever is logged in: the line that installs what is missing."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InvalidInput) as caught:
        App(tmp_path, read_environment({"CLUSTER": "local:1"}), load_messages(), version=version())
    assert caught.value.code is Code.CLUSTER_EXTRA_MISSING
    assert "cryptography" in str(caught.value.params["command"])
