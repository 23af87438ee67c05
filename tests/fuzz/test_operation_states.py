"""The whole program under any order of operations from two clients, each one sent twice at the same moment.

``STATES=200`` for the full count.
"""

from __future__ import annotations

import base64
import itertools
import os
import random
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bridge.app import App
from bridge.dispatch import Failure, call
from bridge.environment import read_environment
from bridge.open_app import version
from bridge.usecases.common import Context
from engine.config import ApiMode
from engine.errors import Busy, Code
from engine.models import TaskMatch, TaskStatus
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import BY_NAME, MESSAGES, config_for
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

pytestmark = pytest.mark.timeout(3600)

STATES = int(os.environ.get("STATES", "10"))
SETTINGS = read_environment({})
ON_A_TASK = (
    *("get_task", "get_task_debug", "retry_task", "retry_task_clear", "delete_task", "source_thumbnail"),
    *("source_image", "preview_image"),
)
ON_A_RESULT = ("toggle_result", "delete_result", "restore_result", "result_image", "result_thumbnail", "save_result")
ON_ALL = (
    *("get_state", "list_tasks", "list_ids", "resume_tasks", "retry_failed", "stop", "clear_tasks", "save_all"),
    *("preview_names", "list_facets", "mark_results"),
)
ON_SETTINGS = (
    *("save_preset", "apply_preset", "delete_preset", "export_presets", "import_presets", "save_config", "test_config"),
    *("describe_config", "list_templates", "get_ui", "save_ui", "save_rule", "list_save_rules", "get_messages"),
    *("get_costs", "get_prices", "save_prices"),
)
ON_SETS = (
    *("preflight", "list_findings", "export_set", "set_report", "get_job", "stop_job", "list_trainers"),
    *("inspect_path", "browse_folder", "preview_set"),
)
ON_PROJECTS = (
    *("list_projects", "create_project", "open_project", "rename_project", "archive_project", "delete_project"),
    *("relocate", "export_project", "import_project", "drop_picture"),
)
ON_MODELS = (
    *("cancel_remote", "choose_column", "collect_remote", "compare_results", "delete_rubric", "delete_trial"),
    *("get_judge", "get_trial", "judge_report", "judge_results", "list_remote", "list_rubrics", "list_suspects"),
    *("list_trials", "measure_row", "retry_below", "save_judge", "save_rubric", "set_caption", "start_trial"),
    *("untick_below", "vote_trial", "write_captions", "write_prompts"),
)
BULK = ("tick", "untick", "drop", "restore", "retry", "retry_clear", "delete")


class OperationStates(RuleBasedStateMachine):
    """One program, one paid API that answers now well, now badly, now slowly."""

    @initialize()
    def open(self) -> None:
        """Five pictures, run once."""
        self.folder = Path(tempfile.mkdtemp())
        self.fake = FakeUpstream().__enter__()
        chance = random.Random(1)

        def answer(_: Received) -> Script:
            kind = chance.randrange(6)
            if kind == 0:
                return Script.error(400, "refused")
            if kind == 1:
                return Script(status=500)
            number = chance.randrange(8)  # some tasks get the same picture
            return inline(ApiMode.CHAT_COMPLETIONS, picture(number), picture(number + 1), delay=chance.random() / 30)

        self.fake.answer_with(answer)
        self.source = source_folder(self.folder / "in", 5)
        self.config = config_for(self.fake, concurrency_limit=3)
        exported = msgspec.json.encode({"presets": {"mine": self.config}, "current_config": self.config})
        self.given: dict[str, dict[str, Any]] = {
            "inspect_path": {"input_path": str(self.source), "config": self.config},
            "save_config": {"config": self.config},
            "import_presets": {"file": base64.b64encode(exported).decode()},
            "mark_results": {"marks": []},
            "save_prices": {"prices": [{"model": "any*", "per_call": "0,04"}]},
            "save_ui": {"settings": {"theme": "dark"}},
            "get_messages": {"language": "en"},
            "browse_folder": {"path": str(self.folder)},
            "relocate": {"input_path": str(self.source)},
            "export_project": {"path": str(self.folder / "carried.ibcp")},
            "import_project": {"file": msgspec.json.encode({"path": str(self.folder / "carried.ibcp")})},
            "drop_picture": {
                "file": msgspec.json.encode({"drop": "0123-4567", "name": "in/1.png", "data": picture(1)})
            },
            "set_report": {"path": str(self.folder / "report.html")},
        }
        self.pool = ThreadPoolExecutor(2)
        self.app = self.opened()
        self.start()
        assert self.app.batch.wait_idle(30)

    def opened(self) -> App:
        """The program on its folder."""
        (self.folder / "data").mkdir(exist_ok=True)
        return App(self.folder / "data", SETTINGS, MESSAGES, version=version())

    def teardown(self) -> None:
        """End everything."""
        self.pool.shutdown()
        self.app.close()
        self.fake.close()
        shutil.rmtree(self.folder)

    def twice(self, name: str, **params: Any) -> list[Any]:
        """From two clients at once; neither may meet a fault."""
        given = {"name": "mine", "output_dir": str(self.folder / "out"), **self.given.get(name, {}), **params}
        contexts = (Context(self.app, "en"), Context(self.app, "zh-CN", local=False))
        answers = list(self.pool.map(lambda context: call(context, BY_NAME[name], lambda: given), contexts))
        for answer in answers:
            if isinstance(answer, Failure):
                assert answer.status < 500, (name, answer.error)
                assert answer.error.message
        return answers

    def pick(self, place: int) -> tuple[str, str]:
        """A task and a result of it, if there are any."""
        tasks = list(self.app.store.tasks(TaskMatch()))
        if not tasks:
            return "none", "none"
        task = tasks[place % len(tasks)]
        return task.id, task.results[place % len(task.results)].id if task.results else "none"

    @rule()
    def start(self) -> None:
        """Two starts at once: one batch."""
        before = self.app.store.counts()
        answers = self.twice("start_batch", input_path=str(self.source), config=self.config)
        begun = [answer.task_count for answer in answers if not isinstance(answer, Failure)]  # answered ones included
        assert sum(self.app.store.counts().values()) <= sum(before.values()) + max(begun, default=0)

    @rule(name=st.sampled_from(ON_ALL))
    def on_all(self, name: str) -> None:
        """What is done to the list."""
        self.twice(name)

    @rule(name=st.sampled_from(ON_SETTINGS))
    def on_settings(self, name: str) -> None:
        """What the settings side does."""
        self.twice(name)

    @rule(name=st.sampled_from(ON_SETS))
    def on_sets(self, name: str) -> None:
        """What is made of the results."""
        self.twice(name)

    @rule(name=st.sampled_from(ON_MODELS))
    def on_models(self, name: str) -> None:
        """What judges, trials and providers are asked; without a model mostly refused, never a fault."""
        self.twice(name)

    @rule(name=st.sampled_from(ON_PROJECTS), place=st.integers(0, 3))
    def on_projects(self, name: str, place: int) -> None:
        """What is done to projects, among them going to another one in the middle of everything."""
        known = self.app.projects.all()
        self.twice(name, id=known[place % len(known)].id)

    @rule(name=st.sampled_from(ON_A_TASK), place=st.integers(0, 9))
    def on_a_task(self, name: str, place: int) -> None:
        """What is done to one."""
        self.twice(name, task_id=self.pick(place)[0])

    @rule(name=st.sampled_from(ON_A_RESULT), place=st.integers(0, 9))
    def on_a_result(self, name: str, place: int) -> None:
        """What is done to a picture."""
        task_id, result_id = self.pick(place)
        self.twice(name, task_id=task_id, result_id=result_id)

    @rule(action=st.sampled_from(BULK), status=st.sampled_from(["", "done", "failed", "stopped,pending"]))
    def bulk(self, action: str, status: str) -> None:
        """What is done to many."""
        self.twice("bulk_tasks", action=action, match={"status": status})

    @rule()
    def wait(self) -> None:
        """Until nothing runs; then all must fit together."""
        assert self.app.batch.wait_idle(30), "stuck"
        self.fits()

    @rule()
    def second_program(self) -> None:
        """Another program on the same folder is refused, and changes nothing."""
        idle = self.app.batch.wait_idle(0)
        before = self.app.store.revision()
        with pytest.raises(Busy) as caught:
            self.opened()
        assert caught.value.code is Code.DATA_FOLDER_IN_USE
        if idle:
            assert self.app.store.revision() == before

    @precondition(lambda self: hasattr(self, "app"))
    @rule()
    def start_again(self) -> None:
        """The program ends in the middle of whatever it does, and comes back."""
        self.app.close()
        self.app = self.opened()
        assert not [problem for problem in self.app.notices if problem.code is Code.FILE_DAMAGED]
        self.fits()

    def fits(self) -> None:
        """States, counts, results and files say the same."""
        tasks = list(self.app.store.tasks(TaskMatch()))
        counts = self.app.store.counts()
        assert sum(counts.values()) == len(tasks)
        for status in TaskStatus:
            assert counts[status] == sum(task.status is status for task in tasks)
        assert counts[TaskStatus.PROCESSING] == 0
        for task in tasks:
            assert task.result_count == sum(not result.deleted for result in task.results)
            for result in task.results:
                assert self.app.cache.has(result.hash, result.extension), "a result without its picture"
            assert len({result.hash for result in task.results}) == len(task.results)


def test_every_operation_is_among_them() -> None:
    """Also one that is new today."""
    groups = (ON_A_TASK, ON_A_RESULT, ON_ALL, ON_SETTINGS, ON_SETS, ON_PROJECTS, ON_MODELS)
    assert {*itertools.chain(*groups), "start_batch", "bulk_tasks"} == BY_NAME.keys()


OperationStates.TestCase.settings = settings(
    max_examples=STATES, stateful_step_count=20, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


class TestOperationStates(OperationStates.TestCase):  # type: ignore[misc, valid-type] # made by hypothesis
    """Run by pytest."""
