"""The page's files: words for each key, copies as pinned, modules preloaded, calls in the table, short and headed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.http.page import make_page
from bridge.operations import OPERATIONS

ROOT = Path(__file__).resolve().parents[2]
WEBUI = ROOT / "webui"
SCRIPTS = sorted(WEBUI.glob("js/**/*.js"))
CODE = "\n".join(path.read_text("utf-8") for path in SCRIPTS)
CATALOGUE: dict[str, str] = json.loads((ROOT / "assets/messages/en/page.json").read_text("utf-8"))
KEYS = {re.sub(r"\.(one|other)$", "", key) for key in CATALOGUE}
NAMED = set(re.findall(r"['`](page\.[\w.]*\w)['`]", CODE))
MADE = set(re.findall(r"`(page\.[\w.]*)\$\{", CODE))


def test_every_named_key_has_words() -> None:
    """A key that the code names stands in the catalogue."""
    assert sorted(NAMED - KEYS) == []


def test_every_made_key_has_words() -> None:
    """For a key that the code puts together, the catalogue has some that begin like it."""
    assert [prefix for prefix in MADE if not any(key.startswith(prefix) for key in KEYS)] == []


def test_no_words_without_use() -> None:
    """What no code asks for is not translated."""
    assert sorted(key for key in KEYS - NAMED if not key.startswith(tuple(MADE))) == []


BANNED = {
    "zh-CN": "界限 照样收入 划分种子 每条提示词的份数 逐对检查 逐对审看 检查视图 口令 移除 标注 说明文件 来源图 "
    "评审 试跑 账户 附加请求体 原图 源图片 您 键盘操作 应答 护栏",
    "en": "As the system|In flight|Take all the same|Seed of the split|one group a sub-folder|A start makes"
    "|press Resume|“Resume”",
}
"""Words that stood beside another for the same thing: 阈值, 仍保留, 随机种子, 审看, 令牌, 丢弃, 描述文字, 源图,
裁判, 试验, 账号, 附加参数, 你, 快捷键, 回答."""


@pytest.mark.parametrize("language", BANNED)
def test_one_word_for_one_thing(language: str) -> None:
    """No catalogue goes back to a second word for what has one."""
    words = BANNED[language].split("|" if language == "en" else " ")
    text = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "assets/messages" / language).glob("*.json")))
    assert [word for word in words if word in text] == []


def test_vendored_files_are_as_pinned() -> None:
    """Every copy has the digest that VERSIONS names, and no other file lies there."""
    check = subprocess.run(
        [sys.executable, str(ROOT / "build" / "vendor_js.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_every_module_is_preloaded() -> None:
    """The page as sent asks for each module at once, but for the two that stand in script tags of their own."""
    listed = re.findall(r'rel="modulepreload" href="\./([^"]+)"', make_page(WEBUI, "1.2.3"))
    modules = {path.relative_to(WEBUI).as_posix() for path in [*SCRIPTS, *WEBUI.glob("vendor/**/*.js")]}
    assert sorted(listed) == sorted(modules - {"js/main.js", "js/bridge.js"})


def test_every_operation_that_the_page_calls_is_in_the_table() -> None:
    """What a script calls by name stands in the table written into the page, or is one of the window's own requests."""
    page = make_page(WEBUI, "1.2.3")
    table = json.loads(re.findall(r'id="operations">(.*?)</script>', page)[0])
    assert {name: tuple(row) for name, row in table.items() if name != "events"} == {
        operation.name: (operation.method, operation.path) for operation in OPERATIONS
    }
    called = set(re.findall(r"\b(?:call|sure|storing|begin|asForm)\(\s*'(\w+)'", CODE))
    called |= {name for pair in re.findall(r"\bcall\([\w.]+ \? '(\w+)' : '(\w+)'", CODE) for name in pair}
    awaited = {"create_project", "delete_project", "list_projects", "open_project", "rename_project"}
    own = awaited | set(re.findall(r'"(\w+)": ', (ROOT / "bridge/window/native_requests.py").read_text("utf-8")))
    assert len(called) > 35
    assert sorted(called - table.keys() - own) == []


@pytest.mark.parametrize("path", [*SCRIPTS, *sorted(WEBUI.glob("css/*.css"))], ids=lambda path: path.name)
def test_files_are_short_and_say_what_they_own(path: Path) -> None:
    """At most 600 lines, and the first line is a comment."""
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= 600
    assert re.match(r"(//|/\*) Owns ", lines[0])


def test_signals_are_declared_in_one_file() -> None:
    """State has one home: only store.js makes signals, one for each loaded task included."""
    makers = [path.name for path in SCRIPTS if re.search(r"\b(signal|useSignal)\(", path.read_text("utf-8"))]
    assert makers == ["store.js"]


def test_no_markup_from_text() -> None:
    """Nothing puts text into the document as markup, or styles into it as attributes."""
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySet", CODE) == []
    assert re.findall(r"style=", (WEBUI / "index.html").read_text("utf-8")) == []
