"""The report of a set: one HTML page that needs nothing else, with numbers, plots and a contact sheet; pure.

Words come from whoever asks, by key.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

import msgspec

from engine.dataset.findings import FindingKind
from engine.dataset.plots import bars, histogram, stacked
from engine.dataset.preflight import Numbers

Words = Callable[[str], str]

_STYLE: Final = """
:root{color-scheme:light dark;--paper:#fbfaf8;--ink:#1d1c1a;--soft:#6b675f;--line:#dcd8d0;
--bar:#3f6f8f;--bad:#b3402f}
@media (prefers-color-scheme:dark){:root{--paper:#191a1c;--ink:#e8e6e2;--soft:#9c988f;--line:#3a3b3e;
--bar:#7fb2d0;--bad:#e58a78}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:72rem;background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,"Segoe UI","PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif}
h1{font-size:1.6rem;margin:0}
h2{font-size:1.1rem;margin:2.5rem 0 .75rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
p,figcaption,dt{color:var(--soft)}p{margin:.2rem 0}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(10.5rem,1fr));gap:1rem;margin:0}
dd{margin:0;font-size:1.35rem;font-variant-numeric:tabular-nums}dt{font-size:.85rem}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:1.5rem}
.single{max-width:24rem;margin-top:1rem}figure{margin:0}svg{width:100%;height:auto;font-size:12px}
.kinds{max-width:40rem}svg text{fill:var(--ink)}svg .most{fill:var(--soft)}
.bar{fill:var(--bar)}.bar.part1{fill:var(--bad)}.mark{stroke:var(--ink);stroke-dasharray:3}
.key{margin-right:1rem}.key::before{content:"";display:inline-block;width:.7em;height:.7em;margin-right:.35em;
background:var(--bar)}.key.part1::before{background:var(--bad)}.axis{stroke:var(--line)}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr));gap:1rem}
.pair{border:1px solid var(--line);border-radius:6px;padding:.5rem;break-inside:avoid}
.pair div{display:grid;grid-template-columns:1fr 1fr;gap:.35rem}
.pair img{width:100%;height:9rem;object-fit:contain;background:var(--line)}
.pair p{font-size:.82rem;overflow-wrap:anywhere}.bad{color:var(--bad)}
table{border-collapse:collapse;width:100%}td{border-top:1px solid var(--line);padding:.35rem .5rem;vertical-align:top}
td:first-child{text-align:right;font-variant-numeric:tabular-nums;width:4rem}
"""


class ShownPair(msgspec.Struct, frozen=True):
    """A pair on the contact sheet: JPEG, PNG or WebP bytes with their MIME types, small; what was found in words."""

    name: str
    control: tuple[bytes, str] | None
    target: tuple[bytes, str] | None
    caption: str
    findings: Sequence[str]


class ModelCost(msgspec.Struct, frozen=True):
    """What a model was paid for. ``cost`` in USD, as far as it is known."""

    model: str
    results: int
    cost: float


class Calibration(msgspec.Struct, frozen=True):
    """The judge beside the person. ``kept`` and ``dropped``: decided results by score, ten bins from 0 to 10;
    ``agreement`` (0..1) and ``kappa`` at ``pass_score``; ``suggested``: the score that agrees best; ``enough`` decided
    for that to mean something."""

    kept: Sequence[int]
    dropped: Sequence[int]
    pass_score: float
    agreement: float | None
    kappa: float | None
    suggested: float | None
    enough: bool


class TrialColumn(msgspec.Struct, frozen=True):
    """A column of a trial. ``wins``: rows in which it was voted the best; ``score`` 0..10, on average, where judged;
    ``cost`` by the price of its connection."""

    name: str
    model: str
    done: int
    wins: int
    score: float | None
    cost: float


class ReportData(msgspec.Struct, frozen=True, kw_only=True):
    """All that the page shows. ``seconds``: from the first result to the last; ``price``: of one call, 0 for unknown;
    ``spent``: what all calls have cost in USD, None for unknown; ``wasted``: those paid for that brought no picture;
    ``failures``: how many tasks failed for which reason, in words. ``findings`` counts pairs;
    ``directions``: how many pairs of the set go which way, by the key of its words; ``scores`` 0..10, where judged."""

    title: str
    made: str
    tasks: int
    results: int
    pairs: int
    accepted: int
    calls: int
    refused: int
    failed: int
    wasted: int = 0
    spent: float | None = None
    seconds: float
    price: float
    registered: bool
    findings: dict[FindingKind, int]
    failures: Sequence[tuple[str, int]]
    numbers: Sequence[Numbers]
    sheet: Sequence[ShownPair]
    directions: Sequence[tuple[str, int]] = ()
    scores: Sequence[float] = ()
    calibration: Calibration | None = None
    costs: Sequence[ModelCost] = ()
    trials: Sequence[TrialColumn] = ()


def render(data: ReportData, words: Words, language: str) -> str:
    """The page, ready to be written. ``words``: text by key, ``report.…`` and ``finding.…``."""

    def say(key: str) -> str:
        return words(f"report.{key}")

    note = "" if data.registered else f"<p>{escape(say('not_registered'))}</p>"
    body = (
        f"<h1>{escape(data.title)}</h1><p>{escape(data.made)}</p>"
        f"<h2>{escape(say('numbers'))}</h2>{_figures(data, say)}"
        f"<h2>{escape(say('findings'))}</h2>{note}<div class=kinds>{_finding_bars(data, words)}</div>"
        f"<h2>{escape(say('pictures'))}</h2><div class=plots>{_distributions(data, say)}</div>"
        f"{_calibration(data.calibration, say)}{_costs(data, say)}{_trials(data, say)}{_failures(data, say)}"
        f"<h2>{escape(say('sheet'))}</h2><div class=sheet>{''.join(_pair(pair) for pair in data.sheet)}</div>"
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="{escape(language)}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(data.title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _figures(data: ReportData, say: Words) -> str:
    per_minute = data.results / data.seconds * 60 if data.seconds > 0 else None
    per_pair = data.calls / data.accepted if data.accepted and data.calls else None
    cost = data.spent if data.spent is not None else data.calls * data.price
    rows: list[tuple[str, str | None]] = [
        ("tasks", str(data.tasks)),
        ("results", str(data.results)),
        ("pairs", str(data.pairs)),
        ("accepted", str(data.accepted)),
        ("calls", str(data.calls)),
        ("refused", str(data.refused)),
        ("failed", str(data.failed)),
        ("time", _duration(data.seconds) if data.seconds > 0 else None),
        ("rate", f"{per_minute:.1f}" if per_minute else None),
        ("calls_per_pair", f"{per_pair:.2f}" if per_pair else None),
        ("wasted", str(data.wasted) if data.wasted else None),
        ("cost", f"{cost:.2f}" if cost else None),
        ("cost_per_pair", f"{cost / data.accepted:.3f}" if cost and data.accepted else None),
    ]
    rows += [(f"direction.{direction}", str(count)) for direction, count in data.directions]
    shown = [f"<div><dt>{escape(say(key))}</dt><dd>{value}</dd></div>" for key, value in rows if value is not None]
    return f"<dl>{''.join(shown)}</dl>"


def _finding_bars(data: ReportData, words: Words) -> str:
    rows = [(words(f"finding.{kind}"), float(count)) for kind, count in data.findings.items() if count]
    if not rows:
        return f"<p>{escape(words('report.no_findings'))}</p>"
    return bars(words("report.by_kind"), sorted(rows, key=lambda row: -row[1]))


def _distributions(data: ReportData, say: Words) -> str:
    shapes = [one.shape for one in data.numbers]
    return "".join(
        (
            histogram(say("megapixels"), [shape.target[0] * shape.target[1] / 1e6 for shape in shapes]),
            histogram(say("longest"), [float(max(shape.target)) for shape in shapes], " px"),
            histogram(say("ratio"), [shape.target[0] / shape.target[1] for shape in shapes]),
            histogram(say("ratio_change"), [shape.aspect for shape in shapes], " %"),
            histogram(say("change"), [one.change for one in data.numbers]),
            histogram(say("likeness"), [one.likeness for one in data.numbers if one.likeness is not None]),
            histogram(say("shift"), [one.shift for one in data.numbers if one.shift is not None], " %"),
            histogram(say("zoom"), [one.zoom for one in data.numbers if one.zoom is not None], " %"),
            histogram(say("colour_drift"), [n.colour_drift for n in data.numbers if n.colour_drift is not None]),
            histogram(
                say("content_drift"), [n.content_drift for n in data.numbers if n.content_drift is not None], " %"
            ),
            histogram(say("score"), list(data.scores)),
        )
    )


def _calibration(judge: Calibration | None, say: Words) -> str:
    """How far the judge agrees with what the person decided; nothing where nothing was decided."""
    if judge is None or not sum(judge.kept) + sum(judge.dropped):
        return ""
    rows = [
        ("decided", str(sum(judge.kept) + sum(judge.dropped))),
        ("pass_score", f"{judge.pass_score:g}"),
        ("agreement", None if judge.agreement is None else f"{judge.agreement:.0%}"),
        ("kappa", None if judge.kappa is None else f"{judge.kappa:.2f}"),
        ("suggested", None if judge.suggested is None else f"{judge.suggested:g}"),
    ]
    shown = [f"<div><dt>{escape(say(key))}</dt><dd>{value}</dd></div>" for key, value in rows if value is not None]
    note = "" if judge.enough else f"<p>{escape(say('few_decided'))}</p>"
    parts = [(say("kept"), judge.kept), (say("dropped"), judge.dropped)]
    legend = "".join(f'<span class="key part{at}">{escape(name)}</span>' for at, (name, _) in enumerate(parts))
    plot = stacked(say("by_score"), parts, 0, 10, judge.pass_score)
    return (
        f"<h2>{escape(say('calibration'))}</h2>{note}<dl>{''.join(shown)}</dl>"
        f"<div class=single>{plot}<p>{legend}</p></div>"
    )


def _costs(data: ReportData, say: Words) -> str:
    if not data.costs:
        return ""
    rows = "".join(
        f"<tr><td>{one.results}</td><td>{escape(one.model)}</td><td>{one.cost:.2f}</td></tr>" for one in data.costs
    )
    return f"<h2>{escape(say('costs'))}</h2><table>{rows}</table>"


def _trials(data: ReportData, say: Words) -> str:
    """The columns of trials, which is where the set's prompt and model were chosen."""
    if not data.trials:
        return ""
    keys = ("trial.wins", "trial.column", "trial.model", "trial.done", "trial.score", "trial.cost")
    rows = "".join(
        f"<tr><td>{one.wins}</td><td>{escape(one.name)}</td><td>{escape(one.model)}</td><td>{one.done}</td>"
        f"<td>{'' if one.score is None else f'{one.score:.2f}'}</td><td>{one.cost:.2f}</td></tr>"
        for one in data.trials
    )
    head = "".join(f"<td>{escape(say(key))}</td>" for key in keys)
    return f"<h2>{escape(say('trials'))}</h2><table><tr>{head}</tr>{rows}</table>"


def _failures(data: ReportData, say: Words) -> str:
    if not data.failures:
        return ""
    rows = "".join(f"<tr><td>{count}</td><td>{escape(text)}</td></tr>" for text, count in data.failures)
    return f"<h2>{escape(say('failures'))}</h2><table>{rows}</table>"


def _pair(pair: ShownPair) -> str:
    pictures = "".join(_image(picture) for picture in (pair.control, pair.target))
    found = f"<p class=bad>{escape(' · '.join(pair.findings))}</p>" if pair.findings else ""
    caption = f"<p>{escape(pair.caption)}</p>" if pair.caption else ""
    return f"<div class=pair><div>{pictures}</div><p><b>{escape(pair.name)}</b></p>{caption}{found}</div>"


def _image(picture: tuple[bytes, str] | None) -> str:
    if picture is None:
        return "<span></span>"
    data, mime = picture
    return f'<img alt="" src="data:{escape(mime)};base64,{base64.b64encode(data).decode()}">'


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
