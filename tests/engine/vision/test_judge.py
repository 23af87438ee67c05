"""A judge over real HTTP: what it is shown, what is read from its answers, what is asked again and what is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.errors import Code, ConsoleError
from engine.models import Judgement
from engine.upstream.netguard import NetPolicy
from engine.upstream.transport import Transport
from engine.vision.calibration import Judged, judge_report
from engine.vision.judge import SWAPPED_EACH, JudgedPair, read_answer
from engine.vision.judging import Judge, Judging
from engine.vision.rubric import Combination, Criterion, Rubric
from engine.vision.settings import JudgeConfig, parse_judge
from tests.fakes.scripts import Script
from tests.fakes.upstream import FakeUpstream
from tests.fakes.vision import FakeVision, chat, coloured

RUBRIC = Rubric("two", (Criterion("asked", 3), Criterion("kept", 1)), Combination.WEIGHTED, "Judge.")
GOOD = '{"scores": {"asked": 8, "kept": 4}, "reason": "fine"}'


class Notes(dict[str, str]):
    """Answers that were paid for, in memory."""

    def recall(self, key: str) -> str | None:
        """The answer of then."""
        return self.get(key)

    def remember(self, key: str, answer: str) -> None:
        """Keep it."""
        self[key] = answer


class Bench:
    """A judge, its fake, and pairs on disk."""

    def __init__(self, folder: Path, fake: FakeUpstream) -> None:
        self.folder = folder
        self.fake = fake
        self.vision = FakeVision()
        self.notes = Notes()
        self.kept: dict[str, Judgement] = {}
        self.transport = Transport(NetPolicy())
        fake.answer_with(self.vision.answer)

    def judge(self, pairs: list[JudgedPair], *, again: bool = False, **changes: Any) -> Any:
        """Judge them with a client of its own, as after a restart."""
        fields = {"api_url": self.fake.url(), "model_name": "eyes", "unlock_local_api_url": True, "max_retries": 0,
                  "retry_interval": 0.1, **changes}  # fmt: skip
        config, _ = parse_judge(fields)
        judging = Judging(self.transport, self.notes, lambda pair, found: self.kept.update({pair.result_id: found}))
        return judging.judge(pairs, Judge(config, RUBRIC), again=again)

    def pair(self, number: int, colour: str = "red", size: tuple[int, int] = (96, 64)) -> JudgedPair:
        """A grey source and a result of a colour."""
        source, result = self.folder / f"{number}.png", self.folder / f"{number}_out.png"
        source.write_bytes(coloured("grey", number, size))
        result.write_bytes(coloured(colour, number))
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (source, result)]
        return JudgedPair(
            f"t{number}", f"r{number}", (str(source),), digests[0], str(result), digests[1], "make it red"
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Everything but the program."""
    with FakeUpstream() as fake:
        made = Bench(tmp_path, fake)
        yield made
        made.transport.close()


def test_pairs_are_judged_by_what_is_seen(bench: Bench) -> None:
    """The judge gets both pictures, labelled and no larger than asked, and its scores become one."""
    pairs = [bench.pair(1, "red", (400, 200)), bench.pair(2, "blue")]
    tally = bench.judge(pairs, max_edge=100, pass_score=6)
    assert (tally.calls, tally.reused, tally.done, tally.failed) == (2, 0, 2, 0)
    good, bad = bench.kept["r1"], bench.kept["r2"]
    assert (good.passed, bad.passed, good.model, good.rubric) == (True, False, "eyes", "two")
    assert good.score > 8
    assert bad.score < 6
    assert bad.reason == "looks blue"
    seen = next(looked for looked in bench.vision.seen if looked.pictures[0].size != (96, 64))
    assert [picture.size for picture in seen.pictures] == [(100, 50), (96, 64)]
    assert ["SOURCE" in picture.label for picture in seen.pictures] == [True, False]
    assert seen.schema is not None
    assert list(seen.schema["properties"]["scores"]["properties"]) == ["asked", "kept"]


def test_the_same_question_is_never_paid_twice(bench: Bench) -> None:
    """Not by another task, another name or other weights; more passes, another model and ``again`` do ask."""
    pair = bench.pair(1)
    assert bench.judge([pair]).calls == 1
    moved = bench.folder / "elsewhere.png"
    Path(pair.sources[0]).rename(moved)
    other = JudgedPair("t9", "r9", (str(moved),), pair.source_hash, pair.result, pair.result_hash, pair.instruction)
    tally = bench.judge([other], pass_score=2, max_edge=64)
    assert (tally.calls, tally.reused) == (0, 1)
    assert bench.kept["r9"].scores == bench.kept["r1"].scores
    assert bench.judge([other], passes=3).calls == 2
    assert bench.judge([other], model_name="other").calls == 1
    assert bench.judge([other], again=True).calls == 1
    assert len(bench.vision.seen) == 5


def test_every_twentieth_pair_is_judged_in_both_orders(bench: Bench) -> None:
    """Position bias shows as a disagreement; this judge has none, and the labels go with the pictures."""
    pairs = [bench.pair(number) for number in range(SWAPPED_EACH + 1)]
    tally = bench.judge(pairs)
    assert tally.calls == SWAPPED_EACH + 2
    assert [j.disagreement for j in bench.kept.values() if j.disagreement is not None] == [0.0]
    assert sum(looked.pictures[0].is_result for looked in bench.vision.seen) == 1


def stream(text: str) -> Script:
    """The answer in two pieces of an event stream."""
    deltas = [{"choices": [{"index": 0, "delta": {"content": part}}]} for part in (text[:9], text[9:])]
    return Script.events(*deltas)


READ: list[tuple[str, list[Script], int]] = [
    ("plain", [chat(GOOD)], 1),
    ("in a fence", [chat(f"Sure!\n```json\n{GOOD}\n```\nAnything else?")], 1),
    ("in prose", [chat(f"I think {{maybe}} it is {GOOD} overall.")], 1),
    ("after thinking", [chat('<think>{"scores": {"asked": 1, "kept": 1}}</think>' + GOOD)], 1),
    (
        "in the thinking only",
        [Script.json({"choices": [{"message": {"content": None, "reasoning_content": GOOD}}]})],
        1,
    ),
    ("as a stream", [stream(GOOD)], 1),
    ("in parts", [Script.json({"choices": [{"message": {"content": [{"type": "text", "text": GOOD}]}}]})], 1),
    ("as texts", [chat('{"scores": {"Asked": "8/10", "kept": "4"}, "reason": "ok"}')], 1),
    ("without a wrap", [chat('{"asked": {"score": 8}, "kept": 4, "reason": "ok"}')], 1),
    ("another language", [chat('评分如下：{"scores": {"asked": 8, "kept": 4}, "reason": "还不错"}')], 1),
    ("half, then whole", [chat(GOOD[:30]), chat(GOOD)], 2),
    ("prose, then whole", [chat("It is a fine picture."), chat(GOOD)], 2),
    ("of a hundred, then of ten", [chat('{"scores": {"asked": 80, "kept": 40}}'), chat(GOOD)], 2),
    ("no response_format here", [Script.error(400, "response_format is not supported"), chat(GOOD)], 1),
    ("429, then whole", [Script.error(429, "slow down", headers={"Retry-After": "0"}), chat(GOOD)], 1),
]


@pytest.mark.parametrize(("what", "answers", "calls"), READ, ids=[case[0] for case in READ])
def test_scores_are_found_in_what_models_write(bench: Bench, what: str, answers: list[Script], calls: int) -> None:
    """Fences, prose, thinking and half an answer do not cost the judgement."""
    bench.fake.answer(*answers)
    tally = bench.judge([bench.pair(1)], max_retries=1)
    assert (tally.calls, tally.failed) == (calls, 0), what
    assert bench.kept["r1"].score == 7.0


UNREADABLE: list[tuple[str, Script, Code, int]] = [
    ("prose", chat("It is a fine picture."), Code.JUDGE_UNREADABLE, 2),
    ("half a JSON", chat(GOOD[:30]), Code.JUDGE_UNREADABLE, 2),
    ("one criterion short", chat('{"scores": {"asked": 8}}'), Code.JUDGE_UNREADABLE, 2),
    ("below 0", chat('{"scores": {"asked": -1, "kept": 4}}'), Code.JUDGE_UNREADABLE, 2),
    ("not a number", chat('{"scores": {"asked": NaN, "kept": true}}'), Code.JUDGE_UNREADABLE, 2),
    ("nothing", Script.json({"choices": [{"message": {"content": ""}}]}), Code.ANSWER_EMPTY, 1),
    ("no pictures", Script.error(400, "This model does not support image input"), Code.UPSTREAM_STATUS, 0),
    (
        "a refusal",
        Script.error(400, "Rejected by our safety system"),
        Code.CONTENT_REFUSED,
        0,
    ),
    ("429 again and again", Script.error(429, "slow down", headers={"Retry-After": "0"}), Code.RATE_LIMITED, 0),
    ("a wrong key", Script.error(401, "Incorrect API key"), Code.KEY_REFUSED, 0),
]


@pytest.mark.parametrize(("what", "answer", "code", "calls"), UNREADABLE, ids=[case[0] for case in UNREADABLE])
def test_what_cannot_be_read_is_said(bench: Bench, what: str, answer: Script, code: Code, calls: int) -> None:
    """Asked once more at most, then named; nothing is kept as a judgement."""
    bench.fake.answer(answer)
    tally = bench.judge([bench.pair(1)])
    assert (tally.calls, tally.failed, bench.kept) == (calls, 1, {}), what
    assert tally.problem is not None
    assert tally.problem.code in (code, Code.PARAMETER_REFUSED)


def test_pairs_whose_pictures_are_gone_or_huge(bench: Bench) -> None:
    """A missing or changed source costs no call and stops nobody; 50 megapixels are sent small."""
    gone, changed, huge = bench.pair(1), bench.pair(2), bench.pair(3)
    Path(gone.sources[0]).unlink()
    Path(changed.sources[0]).write_bytes(coloured("green"))
    Image.new("RGB", (10_000, 5_000), "grey").save(huge.sources[0], compress_level=1)
    digest = hashlib.sha256(Path(huge.sources[0]).read_bytes()).hexdigest()
    huge = JudgedPair("t3", "r3", huge.sources, digest, huge.result, huge.result_hash, huge.instruction)
    tally = bench.judge([gone, changed, huge], max_edge=512)
    assert (tally.calls, tally.done, tally.failed) == (1, 1, 2)
    assert bench.vision.seen[0].pictures[0].size == (512, 256)


def test_a_judge_that_answers_nothing_useful_is_given_up(bench: Bench) -> None:
    """Ten failures in a row are the judge's fault: nobody pays for five thousand."""
    bench.fake.answer(chat("no"))
    with pytest.raises(ConsoleError, match="every_task_fails") as given_up:
        bench.judge([bench.pair(number) for number in range(40)], concurrency_limit=2)
    assert given_up.value.params["cause"] == Code.JUDGE_UNREADABLE
    assert len(bench.fake.api_requests) < 30


@pytest.mark.parametrize(
    ("data", "code", "field"),
    [
        ({"pass_score": 11}, Code.FIELD_RANGE, "pass_score"),
        ({"passes": 0}, Code.FIELD_RANGE, "passes"),
        ({"max_edge": "x"}, Code.FIELD_TYPE, "max_edge"),
        ({"concurrency_limit": 0}, Code.FIELD_RANGE, "concurrency_limit"),
        ({"extra_headers": {"Authorization": "x"}}, Code.FIELD_RESERVED, "extra_headers"),
        ({"api_url": ""}, Code.FIELD_REQUIRED, "api_url"),
    ],
)
def test_bad_settings_are_named(data: dict[str, Any], code: Code, field: str) -> None:
    """A judge is checked as a connection of edits is; a stored one takes its default instead."""
    with pytest.raises(ConsoleError) as refused:
        parse_judge(data)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert parse_judge({"passes": 3, "max_edge": None, "along": True})[0] == JudgeConfig(passes=3, along=True)


def test_no_text_makes_the_reader_fail() -> None:
    """Deep, long and broken JSON is read or refused, in time."""
    for text in ("{" * 100_000, '{"a":' * 50_000, json.dumps({"scores": [1, 2]}), "[" * 9999, "\x00"):
        assert read_answer(text, RUBRIC) is None


def test_calibration_finds_the_person_s_threshold() -> None:
    """Kept above 6, dropped below: the report suggests a score between and says how well the set one agrees."""
    judged = [Judged(score / 2, score / 2 >= 6) for score in range(21)] * 2 + [Judged(5.0)]
    report = judge_report(judged, 7.0)
    assert (report.judged, report.decided, report.enough) == (43, 42, True)
    assert report.suggested_pass_score is not None
    assert 5.5 < report.suggested_pass_score <= 6
    assert (report.suggested_agreement, report.agreement) == (1.0, round(1 - 4 / 42, 3))
    assert report.kappa == pytest.approx(0.806, abs=0.01)
    assert sum(report.histogram) == 43
    assert not judge_report(judged[:29], 7).enough
    assert judge_report([], 7).mean is None
