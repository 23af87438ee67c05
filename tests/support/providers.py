"""The built-in templates of providers, as a person's configuration that means a fake of the provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.fakes.providers import KEY, MODEL, PROMPT, Provider
from tests.fakes.upstream import FakeUpstream

TEMPLATES = json.loads((Path(__file__).parents[2] / "assets" / "presets.json").read_bytes())["templates"]


def provider_config(provider: Provider, fake: FakeUpstream, *, proxied: bool = False, **changes: Any) -> dict[str, Any]:
    """The template's configuration with jobs asked for quickly. The fake stands in the place of its host, or is the
    proxy on the way there."""
    template = next(template for template in TEMPLATES if template["id"] == provider.id)
    config = json.loads(json.dumps(template["config"]))
    parts = urlsplit(config["api_url"])
    config["api_url"] = f"http://{parts.netloc}{parts.path}" if proxied else fake.url(parts.path)
    if "job" in config.get("recipe", {}):
        config["recipe"]["job"]["interval"] = 0.05
    return {
        **config, "api_key": KEY, "model_name": MODEL, "user_prompt": PROMPT, "unlock_local_api_url": True,
        "unlock_local_download_url": True, "max_retries": 0, "proxy": fake.url("") if proxied else "direct", **changes,
    }  # fmt: skip
