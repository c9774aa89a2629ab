"""The documentation is held to the code: its examples load, its commands exist, its links lead somewhere."""

from __future__ import annotations

import ast
import doctest
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli
import typer.main
import yaml

from benchmarks import __main__ as benchmarks
from envlock.cli.app import _UsageError, build
from envlock.config.read import load_project
from envlock.lockfile.document import parse
from tests.notebooks import notebook_of
from tests.support import ProjectFolder

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("benchmarks/*.md")]
)
_FENCE = re.compile(r"^( *)(```+|~~~+)([^\n`]*)\n(.*?)^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_MENTION = "mentioned:envlock"
_PLACEHOLDER = re.compile(r"[…\[\]|<>{}]|\.\.\.")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `language` is the first word after the fence, `rest` what follows it."""

    page: Path
    line: int
    language: str
    rest: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def blocks() -> tuple[Block, ...]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            language, _, rest = match[3].strip().partition(" ")
            content = "".join(line.removeprefix(match[1]) for line in match[4].splitlines(keepends=True))
            found.append(Block(page, text.count("\n", 0, match.start()) + 1, language, rest, content))
    return tuple(found)


def test_no_folder_of_tests_is_left_out(pytestconfig: pytest.Config) -> None:
    """pytest passes over folders of some names, and says nothing."""
    folders = {path.parent for top in ("tests", "src/envlock") for path in (ROOT / top).rglob("*.py")}
    names = {part for folder in folders for part in folder.relative_to(ROOT).parts}
    left_out = [name for name in names for each in pytestconfig.getini("norecursedirs") if fnmatch(name, each)]
    assert left_out == []


def blocks_in(*languages: str) -> list[Any]:
    chosen = [block for block in blocks() if block.language in languages]
    return [pytest.param(block, id=block.name) for block in chosen] or [pytest.param(None, marks=pytest.mark.skip)]


@cache
def schema() -> jsonschema.Draft7Validator:
    """The schema of envlock.toml, which a test of its own holds to be one."""
    return jsonschema.Draft7Validator(json.loads((ROOT / "schemas/envlock.schema.json").read_text(encoding="utf-8")))


def write_requirement_files(table: dict[str, Any], folder: Path) -> None:
    """The requirement files that a table names, with little in them."""
    texts = {"requirements": "rich\n", "environment-yml": "dependencies: [numpy]\n"}
    for key, entry in ((key, table[key]) for key in (*texts, "pyproject") if key in table):
        for each in entry if isinstance(entry, list) else [entry]:
            named = {"file": each} if isinstance(each, str) else each
            lists = [f"[{part}]\n" + "".join(f"{name} = []\n" for name in named.get(key, ())) for key, part in _LISTS]
            text = texts.get(key) or "[project]\nname = 'demo'\nversion = '1'\n" + "".join(lists)
            (folder / named["file"]).write_text(text, encoding="utf-8")


def write_sources(table: dict[str, Any], folder: Path) -> None:
    """The folders and files that packages of a table come from."""
    for entry in table.get("pypi", {}).get("packages", {}).values():
        if isinstance(entry, dict) and "path" in entry:
            place = folder / entry["path"]
            file = place if place.suffix in {".whl", ".gz"} else place / "pyproject.toml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("", encoding="utf-8")


_LISTS = (("extras", "project.optional-dependencies"), ("groups", "dependency-groups"))


@pytest.mark.parametrize("block", blocks_in("toml"))
def test_toml_is_what_it_says(block: Block, tmp_path: Path) -> None:
    document = tomli.loads(block.text)
    if "lock-version" in document and "tool" in document:
        parse(block.text.encode(), block.name)
    if not set(document) & {"envlock", "flow", "env"}:
        return  # some other tool's file
    schema().validate(document)
    text = block.text
    for name, flow in document.get("flow", {}).items():
        steps = ["start", *(step for step in flow.get("step", {}) if step not in {"start", "end"}), "end"]
        file = ProjectFolder(tmp_path, "").write_flow(name, steps=steps)
        if "file" in flow:
            named = file.rename(tmp_path / flow["file"])
            if named.suffix == ".ipynb":
                named.write_bytes(notebook_of(named.read_text()))
        else:  # an excerpt: the file is named elsewhere
            text += f'\n[flow.{name}]\nfile = "{file.name}"\n'
    flows = document.get("flow", {}).values()
    steps_of = [step for flow in flows for step in flow.get("step", {}).values()]
    for table in (*document.get("env", {}).values(), *flows, *steps_of):
        write_requirement_files(table, tmp_path)
        write_sources(table, tmp_path)
    (tmp_path / "envlock.toml").write_text(text, encoding="utf-8")
    load_project(tmp_path / "envlock.toml")


@pytest.mark.parametrize("block", blocks_in("python"))
def test_python_compiles_or_does_what_it_shows(block: Block) -> None:
    if ">>>" not in block.text:
        compile(block.text, block.name, "exec")
        return
    examples = doctest.DocTestParser().get_doctest(block.text, {}, block.name, str(block.page), block.line)
    assert doctest.DocTestRunner(verbose=False).run(examples).failed == 0


@pytest.mark.parametrize("block", blocks_in("json"))
def test_json_parses(block: Block) -> None:
    json.loads(block.text)


def test_links_lead_somewhere() -> None:
    assert [f"{page.relative_to(ROOT)}: {link}" for page in PAGES for link in broken_links(page)] == []


def broken_links(page: Path) -> list[str]:
    """The links of a page that lead nowhere, and why."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    within = ROOT / "docs" if page.is_relative_to(ROOT / "docs") else ROOT  # the site has docs/ alone
    broken = []
    for target in _LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or not file.is_relative_to(within):
            broken.append(f"{target}: there is no such file below {within}")
        elif anchor and anchor not in anchors(file):
            broken.append(f"{target}: there is no such heading")
    return broken


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, made as GitHub makes them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def command_lines(page: Path) -> Iterator[str]:
    """Every `envlock ...` that a page tells its reader to type: in shell blocks, and inline."""
    for block in blocks():
        if block.page == page and block.language in {"sh", "console", "yaml"}:
            text = block.text.replace("\\\n", " ")
            for line in text.splitlines():
                words = re.sub(r"^\s*(?:- )?(?:run: |entry: )?", "", line.strip().removeprefix("$ "))
                if words.startswith("envlock "):
                    yield first_command(words)
    for code in _INLINE.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if code.startswith("envlock ") and not _PLACEHOLDER.search(code):
            yield code.replace("envlock", _MENTION, 1)


def first_command(line: str) -> str:
    """The first command of a line of shell, without comment and redirection.

    >>> first_command('envlock add "rich>=13" > log; echo $?  # done')
    "envlock add 'rich>=13'"
    """
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    return shlex.join(takewhile(lambda word: word[0] not in ";&|<>()", words))


def test_commands_exist() -> None:
    lines = [(page.relative_to(ROOT), line) for page in PAGES for line in command_lines(page)]
    assert [f"{page}: {line}: {reason}" for page, line in lines if (reason := refusal(line))] == []


def test_commands_that_a_node_names_exist() -> None:
    node = ROOT / "src" / "metaflow_extensions" / "envlock" / "plugins" / "node"
    said = set()
    for path in node.glob("*.py"):
        for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                said.update(re.findall(r"`(envlock [a-z][^`]*)`", each.value))
    assert len(said) >= 5
    lines = [each.replace("%s", "team/base:v1") for each in sorted(said)]
    assert [f"{line}: {reason}" for line in lines if (reason := refusal(line))] == []
    # A word after `alias` may be a name too, which the command line would take.
    of_alias = {words[2] for words in map(str.split, lines) if words[1] == "alias"} - {"team/base:v1"}
    assert of_alias <= set(disarmed().commands["alias"].commands)


@cache
def refusal(line: str) -> str:
    """Why the real command line does not take it; empty when it does. Nothing is run."""
    try:
        disarmed().main(args=shlex.split(line)[1:], prog_name="envlock", standalone_mode=False)
    except _UsageError as error:
        said = str(error.format_message())
        # `envlock add` and `envlock show --pathspec` in a sentence are names, and no lines to type.
        return (
            ""
            if line.startswith(_MENTION) and re.search("Missing (argument|command)|requires an argument", said)
            else said
        )
    return ""


@cache
def disarmed() -> Any:
    """The command line, which does nothing."""
    command = typer.main.get_command(build())
    disarm(command)
    return command


def disarm(command: Any) -> None:
    """Take from a command, and from those below it, what they do; how they parse remains."""
    command.callback = lambda **_: None
    for below in getattr(command, "commands", {}).values():
        disarm(below)


def test_what_ci_and_pre_commit_run_is_there() -> None:
    workflows = [yaml.safe_load(path.read_bytes()) for path in sorted((ROOT / ".github/workflows").iterdir())]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    jobs = [job for each in workflows for job in each["jobs"].values()]
    lines = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    entries = [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {words[1] for line in lines if (words := shlex.split(line))[0] == "make"} <= set(targets)
    files = {word for line in [*lines, *entries] for word in shlex.split(line) if re.match(r"[.\w]+/", word)}
    assert {file for file in files if not (ROOT / file).exists()} == set()
    assert files >= {".ci/run", ".venv/bin/ruff"}


def test_ci_runs_on_the_pythons_that_the_project_names() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yaml").read_text(encoding="utf-8"))
    project = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    assert f"CPython {named[0]} to {named[-1]}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_page_can_be_found() -> None:
    start = ROOT / "README.md"
    found, todo = {start}, [start]
    while todo:
        page = todo.pop()
        targets = _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
        pages = {(page.parent / target.partition("#")[0]).resolve() for target in targets if "://" not in target}
        todo += [each for each in pages - found if each in PAGES]
        found |= pages
    assert {str(page.relative_to(ROOT)) for page in set(PAGES) - found if page.is_relative_to(ROOT / "docs")} == set()


def test_the_site_lists_every_page_as_the_index_does() -> None:
    """The pages of single errors and decisions are reached from the index of their folder."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    home, *sections = site["nav"]
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    headed = re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", index, re.MULTILINE)
    assert home == {"Home": "index.md"}
    assert sections == [{heading: _LINK.findall(text)} for heading, text in headed]
    pages = {page.relative_to(ROOT / "docs") for page in PAGES if page.is_relative_to(ROOT / "docs")}
    listed = {Path(page) for section in sections for paths in section.values() for page in paths}
    folders = {Path("reference/errors"), Path("decisions")}
    assert {page.parent for page in pages - listed - {Path("index.md")}} == folders
    assert {folder / "index.md" for folder in folders} <= listed


def test_bench_writes_each_of_its_tables_and_no_prose() -> None:
    page = benchmarks.PAGE.read_text(encoding="utf-8")
    written = benchmarks.with_tables(page, dict.fromkeys(benchmarks.ALL, "a table\n"))
    assert written.count("a table\n") == len(benchmarks.ALL)
    assert _prose(written) == _prose(page)
    assert benchmarks.with_tables(page, {}) == page


def _prose(page: str) -> list[str]:
    return re.split(r"(?s)(?<=-->\n).*?(?=<!-- end -->)", page)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_what_a_page_says_of_the_code_is_there(page: str) -> None:
    text = _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    code = [file for part in ("src", "tests", "scripts") for file in (ROOT / part).rglob("*.py")]
    names = {name for file in code for name in re.findall(r"\w+", file.read_text(encoding="utf-8"))}
    files = {file.name for file in code}
    missing = []
    for told in _INLINE.findall(text):
        in_table = re.search(rf"^\|.*`{re.escape(told)}`", text, re.MULTILINE)
        if told.endswith(".py") or (told.endswith("/") and in_table):
            where = (ROOT, ROOT / "src", ROOT / "src/envlock")
            is_there = told in files or any(any(folder.glob(told)) for folder in where)
        elif re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*(\(.*\))?", told):
            is_there = {*told.partition("(")[0].split(".")} <= names or (ROOT / told).exists()
        else:
            continue
        if not is_there and "NAME" not in told:
            missing.append(told)
    assert missing == []


def test_a_wrong_command_is_refused() -> None:
    assert refusal("envlock check") == ""
    assert "unlock" in refusal("envlock unlock")
    assert "--unlock" in refusal("envlock lock --unlock")


def test_this_looks_at_the_documentation() -> None:
    assert {"README.md", "docs/index.md"} <= {str(page.relative_to(ROOT)) for page in PAGES}
    assert sum(1 for page in PAGES for _ in command_lines(page)) > 20
