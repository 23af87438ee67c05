"""Sets to be published: pairs packed into WebDataset or parquet shards, with a data card that says what is in them.

Both load with Hugging Face's ``datasets``, which wants each pair to have the same fields of the same types.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any, Final, Protocol

from engine.dataset.layouts import Trainer
from engine.dataset.manifests import Row, SetFacts, provenance_of
from engine.dataset.split import Side

PUBLISH_PACKAGES: Final = ("datasets", "huggingface_hub", "webdataset")
"""What the extra ``publish`` of this program brings."""

_SHARD_BYTES: Final = 256 * 2**20
_PAIR_ROWS: Final = 64  # rows of a parquet group: readers hold one at a time
_SHOWN_MODELS: Final = 8
Files = Sequence[tuple[str, bytes]]
Add = Callable[[str, bytes], None]


class Shards(Protocol):
    """Packs pairs into larger files, in order."""

    def add(self, row: Row, files: Files) -> None:
        """A pair with its files: the target first, then the controls."""

    def close(self, facts: SetFacts) -> dict[str, str]:
        """Write what is left; the text files that go with it."""


def can_publish() -> bool:
    """Whether parquet can be written: Hugging Face's ``datasets`` is there, with its pyarrow."""
    return find_spec("datasets") is not None and find_spec("pyarrow") is not None


def new_shards(trainer: Trainer, add: Add, controls: int) -> Shards:
    """For a trainer whose layout has shards; ``add`` writes a file of the set, whose pairs have at most so many
    controls."""
    return _Parquet(add, several=controls > 1) if trainer is Trainer.PARQUET else _Tars(add)


class _Tars:
    """WebDataset: files of a pair share their name up to the first dot: ``000000.input.png``, ``000000.json``."""

    def __init__(self, add: Add) -> None:
        self._add = add
        self._open: dict[Side, tuple[io.BytesIO, tarfile.TarFile]] = {}
        self._written: Counter[Side] = Counter()
        self._pairs = 0

    def add(self, row: Row, files: Files) -> None:
        if row.side not in self._open:
            buffer = io.BytesIO()
            self._open[row.side] = buffer, tarfile.open(fileobj=buffer, mode="w")  # noqa: SIM115 - closed when it is full
        buffer, archive = self._open[row.side]
        key = f"{self._pairs:06}"
        self._pairs += 1
        for name, data in [*_parts(row, files), ("json", _told(row))]:
            entry = tarfile.TarInfo(f"{key}.{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        if buffer.tell() >= _SHARD_BYTES:
            self._end(row.side)

    def close(self, facts: SetFacts) -> dict[str, str]:
        for side in list(self._open):
            self._end(side)
        return {"README.md": data_card(facts, "{side}-*.tar")}

    def _end(self, side: Side) -> None:
        buffer, archive = self._open.pop(side)
        archive.close()
        self._add(f"{side}-{self._written[side]:06}.tar", buffer.getvalue())
        self._written[side] += 1


def _parts(row: Row, files: Files) -> list[tuple[str, bytes]]:
    """Names behind the key: ``output.png``, ``input.jpg``, ``input2.jpg``, ``txt`` and ``mask.png``."""
    data = dict(files)
    target = row.placed.target
    parts = [(f"output{PurePosixPath(target).suffix}", data[target])]
    for number, path in enumerate(row.placed.controls, 1):
        parts.append((f"input{number if number > 1 else ''}{PurePosixPath(path).suffix}", data[path]))
    parts.append(("txt", row.caption.encode("utf-8", "backslashreplace")))
    if row.placed.mask:
        parts.append(("mask.png", data[row.placed.mask]))
    return parts


def _told(row: Row) -> bytes:
    """Origin of a pair; what differs in shape from pair to pair, as text."""
    told = {key: value for key, value in provenance_of(row).items() if key not in ("target", "controls", "mask")}
    score = "" if row.pair.score is None else str(row.pair.score)
    told |= {"parameters": _parameters(told), "score": score, "judge": row.pair.judge}
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _parameters(told: dict[str, Any]) -> str:
    return json.dumps(told["parameters"], ensure_ascii=False, sort_keys=True)


class _Parquet:
    """Parquet as Hugging Face's viewer and ``load_dataset`` read it: pictures with their bytes in the columns.

    ``input`` is a picture, as diffusers' examples take it, or with ``several`` a list of them.
    """

    def __init__(self, add: Add, *, several: bool) -> None:
        self._add = add
        self._several = several
        self._rows: dict[Side, list[dict[str, Any]]] = {}
        self._bytes: Counter[Side] = Counter()
        self._written: Counter[Side] = Counter()

    def add(self, row: Row, files: Files) -> None:
        data = dict(files)
        told = provenance_of(row)
        kept = ("source_name", "target_sha256", "model", "api_url", "created_at", "result_id", "direction")
        inputs = [_picture(path, data) for path in row.placed.controls]
        self._rows.setdefault(row.side, []).append(
            {
                "input": inputs if self._several else inputs[0],
                "output": _picture(row.placed.target, data),
                "prompt": row.caption,
                **{key: told[key] for key in kept},
                "source_sha256": list(row.source_hashes),
                "instruction": told["prompt"],
                "system_prompt": told["system_prompt"],
                "parameters": _parameters(told),
                "score": row.pair.score,
            }
        )
        self._bytes[row.side] += sum(len(one) for _, one in files)
        if self._bytes[row.side] >= _SHARD_BYTES:
            self._end(row.side)

    def close(self, facts: SetFacts) -> dict[str, str]:
        for side in list(self._rows):
            self._end(side)
        return {"README.md": data_card(facts, "data/{side}-*.parquet")}

    def _end(self, side: Side) -> None:
        import pyarrow
        import pyarrow.parquet

        rows = self._rows.pop(side)
        table = pyarrow.Table.from_pylist(rows, schema=_schema(several=self._several))
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer, row_group_size=_PAIR_ROWS)
        self._add(f"data/{side}-{self._written[side]:05}.parquet", buffer.getvalue())
        self._written[side] += 1
        self._bytes[side] = 0


def _picture(path: str, data: dict[str, bytes]) -> dict[str, Any]:
    return {"bytes": data[path], "path": PurePosixPath(path).name}


def _schema(*, several: bool) -> Any:
    """Columns with the note by which ``datasets`` knows that they hold pictures."""
    from datasets import Features, Image, Value
    from datasets import List as ListOf

    texts = (
        "prompt", "source_name", "target_sha256", "model", "api_url", "result_id", "direction", "instruction",
        "system_prompt", "parameters",
    )  # fmt: skip
    columns: dict[str, Any] = {"input": ListOf(Image()) if several else Image(), "output": Image()}
    columns |= {name: Value("string") for name in texts}
    columns |= {"created_at": Value("int64"), "source_sha256": ListOf(Value("string")), "score": Value("float64")}
    return Features(columns).arrow_schema


def data_card(facts: SetFacts, pattern: str) -> str:
    """README.md of a published set: a head that says which files are which split, then numbers. ``pattern`` names the
    files of a ``{side}``."""
    splits = "".join(
        f"      - split: {side}\n        path: {json.dumps(pattern.format(side=side))}\n" for side in facts.prefixes
    )
    models = Counter(row.pair.provenance.model for row in facts.rows if row.pair.provenance.model)
    made_by = ", ".join(f"{model} ({count})" for model, count in models.most_common(_SHOWN_MODELS)) or "unknown"
    counts = ", ".join(f"{len(facts.side(side))} {side}" for side in facts.prefixes)
    directions = Counter(row.pair.direction.value for row in facts.rows)
    return (
        "---\n"
        f"pretty_name: {json.dumps(facts.title, ensure_ascii=False)}\n"
        "task_categories:\n  - image-to-image\n"
        "tags:\n  - image-editing\n"
        f"size_categories:\n  - {_size_category(len(facts.rows))}\n"
        f"configs:\n  - config_name: default\n    data_files:\n{splits}"
        "---\n\n"
        f"# {facts.title}\n\n"
        "Pairs of pictures for training image-edit models: what was sent (`input`), what came back (`output`), and the "
        "caption (`prompt`).\n\n"
        f"| | |\n|---|---|\n| pairs | {len(facts.rows)} ({counts}) |\n| edited by | {made_by} |\n"
        f"| directions | {', '.join(f'{name} {count}' for name, count in sorted(directions.items()))} |\n"
        f"| inputs of a pair | up to {facts.controls} |\n\n"
        "Each pair says where it comes from: hashes of its files, model, instruction and parameters. Licence, and "
        "whose pictures these are, remain to be said here before this is published.\n"
    )


def _size_category(count: int) -> str:
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for bound, name in bounds if count < bound), "n>1M")
