"""Tells setuptools what pyproject.toml cannot: the page and the assets as trees, and where to build."""

from pathlib import Path

from setuptools import setup

SHARE = "share/image-batch-console"


def data_files() -> list[tuple[str, list[str]]]:
    """What the program reads of webui/ and assets/, by folder, for ``<prefix>/share/image-batch-console``."""
    found: dict[str, list[str]] = {}
    for top in ("webui", "assets"):
        for file in sorted(Path(top).rglob("*")):
            if file.is_file() and not {"drawing", "__pycache__"} & set(file.parts):
                found.setdefault(f"{SHARE}/{file.parent.as_posix()}", []).append(file.as_posix())
    return sorted(found.items())


# ``build/`` holds the packaging scripts, so setuptools works elsewhere.
setup(data_files=data_files(), options={"build": {"build_base": "dist/.build"}})
