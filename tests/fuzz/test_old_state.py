"""Any old state.json is taken over, as far as it makes sense, or left alone; never a fault, never another's file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.images.cache import Cache
from engine.models import EditLimits, TaskMatch
from engine.tasks.store import Store
from engine.tasks.takeover import take_over
from tests.support.pictures import picture

EXAMPLES = int(os.environ.get("EXAMPLES", "60"))
FILES = ["ab.png", "sub/cd.png", "text.txt"]

odd = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.text(max_size=3), max_size=2)
)
named = st.sampled_from(
    [*FILES, "../secret.png", "/etc/passwd", "cache/ab.png", "cache\\sub\\cd.png", "ab", "", ".", "\0"]
)
result = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("id", "hash", "path", "cache_path", "file"), named | odd),
        **dict.fromkeys(("selected", "deleted", "source_type", "width"), odd),
    },
)
task = st.fixed_dictionaries(
    {"source_path": st.sampled_from(["/a/1.png", "C:\\a\\2.png"]) | odd},
    optional={
        **dict.fromkeys(
            ("id", "source_name", "status", "last_error", "last_warning"), odd | st.sampled_from(["done", "a"])
        ),
        **dict.fromkeys(("attempts", "http_status"), odd | st.sampled_from([2**63, -(2**63), 2**200, 200])),
        "results": st.lists(result | odd, max_size=4) | odd,
    },
)
states = st.fixed_dictionaries({"tasks": st.lists(task | odd, max_size=5) | odd})


@pytest.mark.timeout(3600)
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(old=states)
def test_any_old_state_is_taken_over(old: dict[str, Any]) -> None:
    """Results come from pictures inside the old cache alone; the old files stay."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        (folder / "cache" / "sub").mkdir(parents=True)
        (folder / "cache" / "ab.png").write_bytes(picture(1))
        (folder / "cache" / "sub" / "cd.png").write_bytes(picture(2))
        (folder / "cache" / "text.txt").write_text("words")
        (Path(place) / "secret.png").write_bytes(picture(3))
        store, cache = Store(folder / "tasks.db"), Cache(folder / "cache")
        take_over(old, folder, store, cache, EditLimits())
        known = {result.hash for task in store.tasks(TaskMatch()) for result in task.results}
        assert all(cache.read(digest, "png") in (picture(1), picture(2)) for digest in known)
        for task in store.tasks(TaskMatch()):
            assert 0 <= task.attempts <= 1_000_000
            assert task.http_status is None or 0 <= task.http_status <= 999
            assert task.source_name
        assert sum(store.counts().values()) == len(store.ids(TaskMatch()))
        assert (folder / "cache" / "ab.png").read_bytes() == picture(1)
        store.close()
