"""Providers' batches in whole-program tests: a desk of each provider, and configurations that mean it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import bridge.app
from engine.tasks import provider_batches
from tests.fakes.batches import KEY, Desk, GeminiDesk, OpenAIDesk, XAIDesk
from tests.fakes.upstream import FakeUpstream
from tests.support.pictures import picture

DESKS: dict[str, type[Desk]] = {"openai": OpenAIDesk, "gemini": GeminiDesk, "xai": XAIDesk}
_TEMPLATES = json.loads((Path(__file__).parents[2] / "assets" / "presets.json").read_bytes())["templates"]


def edited(source: bytes) -> bytes:
    """The result of a source: a picture of its own for each."""
    return picture(int.from_bytes(hashlib.sha256(source).digest()[:3], "big") + 10**6)


def desk_of(provider: str, fake: FakeUpstream, seed: int = 0) -> Desk:
    """The provider's batch API on this server."""
    return DESKS[provider](fake, edited, seed)


def batch_config(provider: str, fake: FakeUpstream, **changes: Any) -> dict[str, Any]:
    """What a person has after choosing the template and the delivery."""
    config = next(template["config"] for template in _TEMPLATES if template["id"] == provider)
    path = {"openai": "/v1/images/edits", "xai": "/v1/images/edits"}.get(provider, "")
    return {
        **config, "api_url": fake.url(path), "api_key": KEY, "user_prompt": "make it evening", "delivery": "batch",
        "batch_provider": "xai" if provider == "xai" else "auto", "unlock_local_api_url": True,
        "unlock_local_download_url": True, "max_retries": 1, "retry_interval": 0.1, "price_per_call": 0.04, **changes,
    }  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions come at once, and what was cut is looked for soon."""
    monkeypatch.setattr(provider_batches, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(provider_batches, "_LONGEST_PAUSE", 0.3)
    limits = bridge.app._limits

    def quicker(environment: Any) -> Any:
        return msgspec.structs.replace(limits(environment), settle_seconds=0.3)

    monkeypatch.setattr(bridge.app, "_limits", quicker)
