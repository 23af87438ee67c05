"""The demo endpoint as the engine meets it: each mode, streamed or not, inline or by URL, and each fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bridge.demo.endpoint import DemoEndpoint, demo_config, samples_folder
from engine.config import ApiConfig, ApiMode, ResponseFormat, StreamChoice
from engine.errors import Code
from engine.images.cache import Cache
from engine.models import EditJob, EditOutcome, SourceType, TaskStatus
from engine.tasks.attempt import LocalAttempts
from engine.tasks.edit import EditTools, run_edit
from engine.tasks.gate import CallGate
from engine.tasks.log import EditLog
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.transport import Transport

MODES = [ApiMode.CHAT_COMPLETIONS, ApiMode.RESPONSES, ApiMode.IMAGES_EDITS]
CARP = samples_folder() / "004_start.png"


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoEndpoint]:
    """An endpoint that does not dawdle."""
    with DemoEndpoint(delay=0.05) as endpoint:
        yield endpoint


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[EditTools]:
    """A transport and a cache of their own."""
    transport = Transport(NetPolicy())
    yield EditTools(LocalAttempts(transport), Cache(tmp_path / "cache"), CallGate(64, 0.1))
    transport.close()


def edited(config: ApiConfig, tools: EditTools, log: EditLog | None = None) -> EditOutcome:
    """What one edit of the carp comes to."""
    return run_edit(EditJob("demo", str(CARP), config), tools, CancelToken(), log or EditLog())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stream", [StreamChoice.ON, StreamChoice.OFF])
@pytest.mark.parametrize("count", [1, 3])
def test_every_mode_gives_its_pictures(
    demo: DemoEndpoint, tools: EditTools, mode: ApiMode, stream: StreamChoice, count: int
) -> None:
    """The engine gets as many different pictures as it asked for, transparent ones as PNG, at the first attempt."""
    config = msgspec.structs.replace(
        demo_config(demo.base_url, mode), stream=stream, result_count=count, extra_body={"n": count}
    )
    outcome = edited(config, tools)
    assert (outcome.status, outcome.error, outcome.attempts) == (TaskStatus.DONE, None, 1)
    assert len({image.hash for image in outcome.images}) == count
    assert {(image.info.mime, image.info.width) for image in outcome.images} == {("image/png", 480)}


@pytest.mark.parametrize("mode", [ApiMode.RESPONSES, ApiMode.IMAGES_EDITS])
def test_progress_and_preview_arrive(demo: DemoEndpoint, tools: EditTools, mode: ApiMode) -> None:
    """Where the mode knows progress, percent and preview of the running edit can be seen."""
    log = EditLog()
    assert edited(demo_config(demo.base_url, mode), tools, log).status is TaskStatus.DONE
    assert log.percent is not None
    assert log.percent >= 80
    assert log.preview


@pytest.mark.parametrize("mode", MODES)
def test_urls_are_fetched(demo: DemoEndpoint, tools: EditTools, mode: ApiMode) -> None:
    """Results named by URL are downloaded from the endpoint itself."""
    config = msgspec.structs.replace(
        demo_config(demo.base_url, mode), response_format=ResponseFormat.URL, extra_body={"response_format": "url"}
    )
    outcome = edited(config, tools)
    assert (outcome.status, outcome.error) == (TaskStatus.DONE, None)
    assert [image.source_type for image in outcome.images] == [SourceType.URL]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("error 401", Code.KEY_REFUSED),
        ("error 429", Code.RATE_LIMITED),
        ("error html", Code.UPSTREAM_STATUS),
        ("error empty", Code.ANSWER_EMPTY),
        ("error text", Code.ANSWER_NO_PICTURE),
        ("error event", Code.UPSTREAM_ERROR),
        ("error cut", Code.CONNECTION_LOST),
        ("error broken", Code.CANDIDATES_REFUSED),
        ("error link", Code.CANDIDATES_REFUSED),
    ],
)
def test_faults_are_told_apart_in_a_stream(
    demo: DemoEndpoint, tools: EditTools, mode: ApiMode, words: str, code: Code
) -> None:
    """Each fault that the prompt asks for ends as the failure of that name."""
    config = msgspec.structs.replace(demo_config(demo.base_url, mode), user_prompt=words, max_retries=0)
    assert config.stream is StreamChoice.ON
    outcome = edited(config, tools)
    assert outcome.status is TaskStatus.FAILED
    assert outcome.error is not None
    assert outcome.error.code is code


@pytest.mark.parametrize("mode", MODES)
def test_a_fault_that_comes_once_is_overcome(demo: DemoEndpoint, tools: EditTools, mode: ApiMode) -> None:
    """``error 500 once`` costs one attempt and no picture."""
    config = msgspec.structs.replace(
        demo_config(demo.base_url, mode), user_prompt=f"夜晚 error 500 once {mode}", retry_interval=0.1
    )
    outcome = edited(config, tools)
    assert (outcome.status, outcome.attempts, len(outcome.images)) == (TaskStatus.DONE, 2, 1)
