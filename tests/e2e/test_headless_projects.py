"""``run`` and projects: what a run made can be opened in the window; a project that a person began is used and kept."""

from __future__ import annotations

from pathlib import Path

from engine.config import ApiMode
from engine.projects import Projects
from tests.e2e.conftest import Program
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import KEY, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.processes import lines
from tests.support.replies import inline


def test_a_run_is_a_project_of_its_folder(program: Program, tmp_path: Path) -> None:
    """Without a project, a run stands among them by itself; with one it works in that, saves and counts only
    what is its own, leaves the rest, and is refused with words while a window has it."""
    source = source_folder(tmp_path / "cats", 2)
    with FakeUpstream() as fake:
        fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(7)))
        flags = ["--api-url", config_for(fake)["api_url"], "--model-name", "m", "--unlock-local-api-url", "--json"]

        def run(output: str, prompt: str) -> tuple[int, list[dict[str, object]], str]:
            done = program(
                "run", str(source), "-o", str(tmp_path / output), "--user-prompt", prompt, *flags, IBC_API_KEY=KEY
            )
            return done.returncode, lines(done.stdout), done.stderr

        code, told, _ = run("first", "at night")
        assert code == 0
        data = tmp_path / "data"
        index = Projects(data)
        (made,) = [one for one in index.all() if one.place]
        assert (made.name, made.input_path, made.task_count) == ("cats → first", str(source), 2)
        assert index.folder(made).is_relative_to(data / "runs")
        mine = index.create("my cats", str(source))
        index.close()

        with open_door(data) as door:
            door.post("/api/projects/open", {"id": made.id})
            assert len(door.tasks()) == 2
            door.post("/api/projects/open", {"id": mine.id})
            door.start(source, {**config_for(fake), "user_prompt": "by the window"})
            door.wait_idle()
            code, _, words = run("second", "at noon")
            assert (code, "my cats" in words) == (2, True)
            door.post("/api/projects/open", {"id": "default"})
            code, told, _ = run("second", "at noon")  # beside the window, which shows another project
            assert code == 0
            end = told[-1]
            assert (end["saved_count"], end["progress"]["total"]) == (2, 2)  # type: ignore[index]
            door.post("/api/projects/open", {"id": mine.id})
            assert [task["status"] for task in door.tasks()] == ["done"] * 4
        asked = len(fake.api_requests)
        code, told, _ = run("second", "at noon")
        assert (code, told[0]["reused_count"], len(fake.api_requests)) == (0, 2, asked)
