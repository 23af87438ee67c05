"""The rules of the house: what ARCHITECTURE.md promises of every file, read from the files themselves."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE = 600
LONGEST_FUNCTION = 60
STATEMENTS = 40
INDEX_HOSTS = (
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "npm" + "js.org/",
    "npm" + "mirror",
    "registry" + ".npm",
    "deb" + "ian.org/debian",
)
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root|home/[a-z]\w*|Users/[a-z]\w*)/")


def tracked() -> list[Path]:
    """Every file that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [file for file in files if file.is_file()]


def is_text(file: Path) -> bool:
    return b"\0" not in file.read_bytes()[:8000]


FILES = tracked()
OURS = [file for file in FILES if "vendor" not in file.parts]
PROGRAM = [
    file
    for file in OURS
    if file.suffix == ".py" and file.relative_to(ROOT).parts[0] in ("bridge", "engine", "launcher.py")
]
PYTHON = [file for file in OURS if file.suffix == ".py"]
TESTS = [file for file in PYTHON if file.name.startswith("test_")]


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@cache
def parsed(file: Path) -> tuple[ast.Module, tuple[ast.AST, ...]]:
    """A file, and everything in it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return tree, tuple(ast.walk(tree))


def nodes() -> dict[str, tuple[ast.AST, ...]]:
    return {name(file): parsed(file)[1] for file in PROGRAM}


def test_no_file_is_long() -> None:
    """Nobody has to scroll through more than 600 lines, in Python, JavaScript, CSS or shell."""
    kinds = {".py", ".js", ".css", ".sh", ".cmd"}
    lines = {name(file): len(file.read_text(encoding="utf-8").splitlines()) for file in OURS if file.suffix in kinds}
    assert len(lines) > 20
    assert {file: count for file, count in lines.items() if count > LONGEST_FILE} == {}


def test_no_function_is_long() -> None:
    """A function of the program does one thing, within a screen."""
    long = {
        f"{file}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for file, inside in nodes().items()
        for node in inside
        if isinstance(node, ast.FunctionDef) and node.end_lineno and node.end_lineno - node.lineno >= LONGEST_FUNCTION
    }
    assert long == {}


def test_every_file_says_what_it_owns() -> None:
    """The first docstring is there, and its first paragraph has at most three lines."""
    for file in PYTHON:
        docstring = ast.get_docstring(parsed(file)[0])
        assert docstring, name(file)
        assert len(docstring.split("\n\n", maxsplit=1)[0].splitlines()) <= 3, name(file)


def test_every_test_says_what_it_shows() -> None:
    """Each test has a docstring of its own."""
    for file in TESTS:
        for node in parsed(file)[1]:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{name(file)}:{node.lineno} {node.name}"


def test_test_files_have_names_of_their_own() -> None:
    """Base names of test files are unique, so that a report names one file."""
    names = [file.name for file in TESTS]
    assert sorted(set(names)) == sorted(names)


def test_nothing_sleeps_where_stop_cannot_wake_it() -> None:
    """The program never calls time.sleep; it waits on something that a stop ends."""
    for file, inside in nodes().items():
        for node in inside:
            if isinstance(node, ast.Attribute) and node.attr == "sleep":
                assert not (isinstance(node.value, ast.Name) and node.value.id == "time"), f"{file}:{node.lineno}"
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                assert "sleep" not in {alias.name for alias in node.names}, f"{file}:{node.lineno}"


NAMING_ELSEWHERE = {
    "engine/database.py": "moves the files beside a damaged database along with it, in one folder of ours",
}


def names_files(inside: Iterable[ast.AST]) -> bool:
    """Whether code links, renames or replaces a file."""
    for node in inside:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, called = node.func.value, node.func.attr
            of_os = isinstance(owner, ast.Name) and owner.id in ("os", "shutil")
            if called in ("rename", "hardlink_to", "renames", "move") or (of_os and called in ("link", "replace")):
                return True
            if called == "replace" and not of_os and len(node.args) == 1 and not node.keywords:
                return True  # Path.replace; that of texts takes two
    return False


def test_one_writer_names_files() -> None:
    """Links, renames and replacements stand in engine/files.py alone: what is never overwritten is decided there."""
    found = {file for file, inside in nodes().items() if names_files(inside)}
    assert found - {"engine/files.py"} == set(NAMING_ELSEWHERE)


def test_nothing_imports_the_launcher() -> None:
    """launcher.py is the top: bridge and engine do not know it (import-linter watches the order below)."""
    for file, inside in nodes().items():
        for node in inside:
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert "launcher" not in {module.split(".")[0] for module in named}, f"{file}: imports the launcher"


def test_broad_excepts_stand_at_edges_and_say_why() -> None:
    """A broad except has a comment that says which edge it is; everything else names what it expects."""
    for file, inside in nodes().items():
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        for node in inside:
            if isinstance(node, ast.ExceptHandler):
                if isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None:
                    continue  # tidies up and lets it go on
                caught = ast.unparse(node.type) if node.type else "everything"
                if re.search(r"\b(Base)?Exception\b|everything", caught):
                    assert re.search(r"#.*\bedge\b", lines[node.lineno - 1]), f"{file}:{node.lineno} catches {caught}"


def test_every_exception_to_a_check_has_a_reason() -> None:
    """`noqa` and `type: ignore` name the rule, and `noqa` says why."""
    for file in PYTHON:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if file.name == "test_house.py":
                continue
            if re.search(r"#\s*noqa\b", line):
                assert re.search(r"#\s*noqa: [A-Z]+\d+(, ?[A-Z]+\d+)* - \S", line), f"{name(file)}:{number}"
            if re.search(r"#\s*type:\s*ignore", line):
                assert re.search(r"#\s*type: ignore\[[a-z-]+", line), f"{name(file)}:{number}"


def opens_sqlite(inside: Iterable[ast.AST]) -> bool:
    """Whether code opens a database."""
    return any(
        (isinstance(node, ast.Attribute) and node.attr == "connect" and ast.unparse(node.value) == "sqlite3")
        or (isinstance(node, ast.ImportFrom) and node.module == "sqlite3" and "connect" in {a.name for a in node.names})
        for node in inside
    )  # fmt: skip


def test_one_module_opens_sqlite() -> None:
    """Every database is opened, examined and put into quarantine by engine/database.py."""
    assert {file for file, inside in nodes().items() if opens_sqlite(inside)} == {"engine/database.py"}


def test_importing_does_nothing() -> None:
    """Importing every module of the engine starts no thread, opens no file of ours and prints nothing."""
    modules = [
        name(file)[:-3].replace("/", ".").removesuffix(".__init__") for file in PROGRAM if "engine" in file.parts
    ]
    code = (
        "import importlib, sys, threading\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "for banned in ('webview', 'bottle', 'waitress', 'bridge'): assert banned not in sys.modules, banned\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_text_names_a_machine_or_a_package_index() -> None:
    """Nothing that is handed out names a package index or a path of somebody's machine."""
    found = {}
    for file in OURS:
        if is_text(file):
            text = file.read_text(encoding="utf-8")
            found[name(file)] = [host for host in INDEX_HOSTS if host in text] + MACHINE_PATHS.findall(text)
    assert {file: words for file, words in found.items() if words} == {}


def test_locks_have_hashes() -> None:
    """Both lock files pin every package to a version and to hashes, and tests run on what the program runs on."""
    pins: dict[str, dict[str, str]] = {}
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text(encoding="utf-8")
        entries = re.findall(
            r"^([a-z][\w.-]*)==(\S+)[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE
        )
        assert len(entries) == len(re.findall(r"^[a-z]", text, re.MULTILINE))
        pins[lock] = {package: version for package, version, _ in entries}
    assert pins["requirements.lock"].items() <= pins["requirements-dev.lock"].items()


def test_what_is_said_of_parts_and_releases_is_done() -> None:
    """The audit asks about every lock, and released files get checksums, a list of their parts and an attestation, as
    SECURITY.md says."""
    audit = (ROOT / "scripts" / "audit.sh").read_text(encoding="utf-8")
    assert all(part in audit for part in ("requirements.lock", "requirements-dev.lock", "scripts/page_checks audit"))
    workflow = (ROOT / ".github" / "workflows" / "build.yml").read_text(encoding="utf-8")
    made = (ROOT / "scripts" / "ci" / "release_files.sh").read_text(encoding="utf-8")
    assert all(step in workflow for step in ("scripts/ci/release_files.sh", "actions/attest-build-provenance@"))
    assert all(file in made for file in ("SHA256SUMS", "cdx.json"))


def test_lock_follows_pyproject() -> None:
    """Each dependency that pyproject.toml names is locked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for requirement in project["project"]["dependencies"]:
        package = re.split(r"[\[<>=!~ ]", requirement, maxsplit=1)[0].lower()
        assert re.search(rf"^{re.escape(package)}==", lock, re.MULTILINE), package


def _headings(text: str) -> list[int]:
    """Levels of the headings in order; what stands in code fences is none."""
    return [
        len(mark)
        for mark in re.findall(
            r"^(#+) ", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
        )
    ]


def test_both_readmes_say_the_same() -> None:
    """README.md and README.zh-CN.md have the same headings, commands and environment variables, and link each other."""
    english = (ROOT / "README.md").read_text(encoding="utf-8")
    chinese = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
    assert _headings(english) == _headings(chinese)
    commands = [re.findall(r"^(?:\./|curl|git |pip |sudo )[^#\n]*", text, re.MULTILINE) for text in (english, chinese)]
    assert [line.strip() for line in commands[0]] == [line.strip() for line in commands[1]]
    variables = [sorted(set(re.findall(r"`([A-Z][A-Z_]{3,})`", text))) for text in (english, chinese)]
    assert variables[0] == variables[1]
    assert "README.zh-CN.md" in english
    assert "README.md" in chinese


def test_links_between_documents_lead_somewhere() -> None:
    """A relative link in a document names a file that exists."""
    documents = [file for file in OURS if file.suffix == ".md"]
    assert len(documents) >= 5
    for file in documents:
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", file.read_text(encoding="utf-8")):
            assert (file.parent / target).exists(), f"{name(file)}: {target}"


def test_version_stands_in_the_changelog() -> None:
    """The newest version of the changelog is the program's."""
    version = (ROOT / "assets" / "VERSION").read_text(encoding="utf-8").strip()
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)[:1] == [version]


def test_scripts_are_executable_and_windows_lines_end_in_crlf() -> None:
    """Scripts keep their mode in git, and start.cmd gets CRLF on checkout."""
    modes = subprocess.run(
        ["git", "ls-files", "-s", "start.sh", "test.sh", ".ci/run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[0] for line in modes.stdout.splitlines()] == ["100755"] * 3
    attributes = subprocess.run(
        ["git", "check-attr", "eol", "start.cmd"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert attributes.stdout.split()[-1] == "crlf"
    assert (ROOT / "start.cmd").read_bytes().isascii()


def test_no_route_is_written_in_the_page() -> None:
    """The page knows operations by name; their methods and paths come from the program's table."""
    scripts = [file for file in OURS if file.suffix in (".js", ".html") and name(file).startswith("webui/")]
    assert len(scripts) > 40
    assert [name(file) for file in scripts if writes_route(file.read_text(encoding="utf-8"))] == []


def writes_route(text: str) -> bool:
    """Whether a script of the page knows a path of the program."""
    return "/api/" in text


@pytest.mark.parametrize(
    ("check", "guilty", "innocent"),
    [
        (
            names_files,
            ["os.replace(a, b)", "path.rename(b)", "Path(a).replace(b)", "os.link(a, b)"],
            ["t.replace('a', 'b')"],
        ),
        (opens_sqlite, ["sqlite3.connect(a)", "from sqlite3 import connect"], ["self.connect()", "sqlite3.Row"]),
    ],
)
def test_the_checks_can_fail(
    check: Callable[[Iterable[ast.AST]], bool], guilty: list[str], innocent: list[str]
) -> None:
    """Each finds what it is there for, and nothing else."""
    assert all(check(ast.walk(ast.parse(code))) for code in guilty)
    assert not any(check(ast.walk(ast.parse(code))) for code in innocent)


def test_limits_are_those_of_the_checkers() -> None:
    """At most 40 statements a function and 600 lines a file, in both languages, and nothing of ours is let off."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert lint["pylint"]["max-statements"] == STATEMENTS
    assert any("PLR0915".startswith(rule) for rule in lint["select"])
    let_off = {where for where, rules in lint["per-file-ignores"].items() if "PLR0915" in rules}
    assert let_off == {"tests/**", "assets/drawing/**"}
    assert not any("PLR0915" in file.read_text(encoding="utf-8") for file in PROGRAM)
    page = (ROOT / "scripts/page_checks/eslint.config.js").read_text(encoding="utf-8")
    assert f"'max-statements': ['error', {STATEMENTS}]" in page
    assert f"'max-lines': ['error', {{ max: {LONGEST_FILE} }}]" in page
    scripts = [file for file in OURS if file.suffix == ".js" and name(file).startswith("webui/")]
    assert not any("eslint-disable" in file.read_text(encoding="utf-8") for file in scripts)


def test_architecture_names_what_is_there() -> None:
    """Each path that ARCHITECTURE.md names exists, and each folder with code of ours has its line in it."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = [name(file) for file in FILES]
    tops = {file.split("/")[0] for file in files if "/" in file}
    named = {one.removeprefix("./") for one in re.findall(r"`([\w./-]+)`", text) if not one.startswith(("/", ".venv/"))}
    paths = {one for one in named if one.split("/")[0] in tops and "/" in one}
    bare = {one for one in named if one.endswith((".py", ".js", ".sh", ".cmd", ".md", ".toml"))} - paths
    assert len(paths) > 50
    assert sorted(one for one in paths if not (ROOT / one).exists()) == []
    assert sorted(one for one in bare if not any(f"/{file}".endswith(f"/{one}") for file in files)) == []
    folders = {f"{name(file.parent)}/" for file in PROGRAM if file.parent != ROOT}
    assert sorted(folder for folder in folders if f"| `{folder}` |" not in text) == []


def test_one_writer_for_terminals() -> None:
    """What is said to a terminal goes through the module that takes the power from control characters."""
    speaks = re.compile(r"(?<![\w.])print\(|\.print\(|sys\.std(out|err)\.(buffer\.)?write")
    found = [name(file) for file in PROGRAM if speaks.search(file.read_text(encoding="utf-8"))]
    assert found == ["bridge/terminal/writer.py"]


def test_json_files_are_json() -> None:
    """Every JSON file that is shipped can be read."""
    for file in OURS:
        if file.suffix == ".json" and "tests" not in file.parts:
            json.loads(file.read_text(encoding="utf-8"))
