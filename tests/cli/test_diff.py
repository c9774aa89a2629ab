"""`envlock diff`: the table, the markdown of a pull request, JSON, and the exit status."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from envlock.__main__ import main
from envlock.cli import completion
from envlock.cli.diff import LONGEST, MARKER, as_markdown
from envlock.config.read import load_project
from envlock.errors import Location
from envlock.lockfile.changes import ArchChanges, PackageChange
from envlock.lockfile.required_changes import RequirementChange
from envlock.model.arch import LINUX_64
from envlock.workflow.diff import Asked, Diff, EnvironmentDiff, diff
from envlock.workflow.references import LockFile, Referred
from tests.build.repositories import commit
from tests.workflow.test_diff import locked


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a project that differs from what is committed."""
    locked(tmp_path, {"one": ["alpha 1.0", "idna 3.0"], "two": ["alpha 1.0", "idna 3.0"], "gone": ["six 1.16"]})
    commit(tmp_path)
    locked(tmp_path, {"one": ["alpha 1.1", "numpy 2.0!"], "two": ["alpha 1.1", "numpy 2.0!"], "came": ["attrs 24.1"]})
    monkeypatch.chdir(tmp_path)
    return tmp_path


Told = Callable[..., str]


@pytest.fixture
def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """What the command writes to stdout; it may write nothing to stderr, and ends with `status`."""

    def run(*arguments: str, status: int = 0) -> str:
        assert main(["diff", *arguments]) == status
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return run


def test_the_table_shows_environments_with_the_same_change_together(told: Told) -> None:
    assert told() == (
        "one and two on linux-64 and osx-arm64\n"
        "  required    alpha >=1.0 -> >=1.1 (envlock.toml:5, envlock.toml:8)\n"
        "  upgraded    alpha  1.0 -> 1.1\n"
        "  removed     idna   3.0\n"
        "  added       numpy  2.0\n"
        "  0 packages the same\n"
        "\n"
        "came added on linux-64 and osx-arm64\n"
        "  Python 3.12, 1 package\n"
        "  required    +attrs >=24.1 (envlock.toml:11)\n"
        "\n"
        "gone removed on linux-64 and osx-arm64\n"
        "  Python 3.12, 1 package\n"
        "\n"
        "2 environments changed, 1 added, 1 removed; 1 package added, 1 removed, 1 upgraded\n"
    )


def test_how_many_packages_are_the_same_is_told_of_a_whole_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    monkeypatch.chdir(tmp_path)
    for version in ("1.0", "1.1"):
        locked(
            tmp_path, {"one": ["idna 3.0", f"alpha {version}"], "two": ["attrs 24.1", "six 1.16", f"alpha {version}"]}
        )
        if version == "1.0":
            commit(tmp_path)
    assert told().splitlines()[:3] == [
        "one and two on linux-64 and osx-arm64",
        "  upgraded    alpha  1.0 -> 1.1",
        "  1-2 packages the same",
    ]


def test_one_environment_of_one_arch(told: Told) -> None:
    assert told("--env", "one", "--arch", "osx-arm64").splitlines()[0] == "one on osx-arm64"


def test_nothing_differs(told: Told, folder: Path) -> None:
    commit(folder)
    assert told("--exit-code") == "no environment differs\n"


def test_the_exit_status_is_one_only_if_it_is_asked_for(told: Told) -> None:
    assert told("main", status=0) == told("main", "--exit-code", status=1)


def test_json_has_every_arch_and_every_environment(told: Told) -> None:
    found = json.loads(told("--json"))
    assert found == json.loads(told("--format", "json"))
    assert (found["before"], found["after"], found["same"]) == ("HEAD", None, False)
    one, _, came, gone = found["environments"]
    assert (one["state"], came["state"], gone["state"]) == ("changed", "added", "removed")
    assert one["required"] == [
        {"name": "alpha", "before": ">=1.0", "after": ">=1.1", "path": "envlock.toml", "line": 5}
    ]
    assert [each["arch"] for each in one["archs"]] == ["linux-64", "osx-arm64"]
    assert one["archs"][0]["changes"][0] == {
        "verb": "upgraded",
        "kind": "pypi",
        "name": "alpha",
        "before": "1.0",
        "after": "1.1",
        "direct": True,
    }
    assert [each["verb"] for each in came["archs"][0]["changes"]] == ["added"]
    assert [each["verb"] for each in gone["archs"][0]["changes"]] == ["removed"]
    assert gone["after"] is None


def test_a_shell_completes_revisions_and_names_at_a_revision(folder: Path) -> None:
    assert completion.compared("ma") == ["main"]
    assert completion.compared("main:o") == ["main:one"]
    assert completion.shown("HEAD:c") == ["HEAD:came"]
    assert completion.shown("team/base:c") == completion.shown("-x:c") == []
    assert completion.compared("on") == ["one"]


def test_verbose_says_what_is_asked_of_git(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "HEAD...HEAD", "--verbose"]) == 0
    said = capsys.readouterr().err
    assert f"debug: run git -C {folder} cat-file --batch" in said
    assert f"git -C {folder} merge-base" in said


def test_more_than_two_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "one", "two", "came"]) == 2
    assert "error[usage]" in capsys.readouterr().err


WORDS = st.sampled_from(
    [
        *("main", "HEAD", "HEAD~1", "..", "...", ":", "one", "@", "@{0}", "^", "^{tree}", "^{/x}", "/", "-", "--", "~"),
        *(".", "envlock.toml", "envlock.lock", "\n", "é", " ", "team/base", "v1", "abcd", "0" * 40, "Flow/1/fit", "*"),
        *("\x1b[2J", "refs/heads/main", "%", "\\", "'", '"', "$HOME", "~root", ":/x", ":0:x", "\u202e"),
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(WORDS, min_size=1, max_size=4).map("".join), min_size=1, max_size=2))
def test_whatever_is_compared_is_understood_or_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], texts: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "metaflow.client.core", None)
        assert main(["diff", "--", *texts]) in {0, 1, 2, 3, 5}
    out, err = capsys.readouterr()
    assert "/dev/null" not in out + err
    assert "\x1b" not in out + err


HOSTILE = st.text(st.sampled_from("`|<>*_[]()\\@#!-=\n\r\t&~:/ ab1\u2028\u202e"), min_size=1, max_size=16)


class TestMarkdown:
    def test_of_a_change(self, told: Told) -> None:
        assert told("main", "--format", "markdown").splitlines() == [
            "### envlock: 2 environments changed, 1 added, 1 removed; 1 package added, 1 removed, 1 upgraded",
            "",
            "`main` -> the working folder",
            "",
            "#### `one` and `two` on linux-64 and osx-arm64",
            "",
            "Required:",
            "",
            "- `alpha` `>=1.0` -> `>=1.1` (`envlock.toml:5, envlock.toml:8`)",
            "",
            "| package | before | after | change |",
            "|---|---|---|---|",
            "| **`alpha`** | `1.0` | `1.1` | upgraded |",
            "| `idna` | `3.0` |  | removed |",
            "| `numpy` |  | `2.0` | added |",
            "",
            "#### `came` added on linux-64 and osx-arm64",
            "",
            "Python 3.12, 1 package.",
            "",
            "Required:",
            "",
            "- added `attrs` `>=24.1` (`envlock.toml:11`)",
            "",
            "#### `gone` removed on linux-64 and osx-arm64",
            "",
            "Python 3.12, 1 package.",
            "",
            MARKER,
        ]

    def test_nothing_from_a_file_is_markup_or_mentions_anybody(self, folder: Path, told: Told) -> None:
        name = "<img src=x>|@ann `#1`"
        (folder / "envlock.toml").write_text(
            f"{(folder / 'envlock.toml').read_text()}[env.'{name}'.pypi.packages]\nalpha = '>=1'\n"
        )
        text = told("--format", "markdown")
        outside = re.sub(r"`[^`\n]*`| -> ", "", text.removesuffix(f"{MARKER}\n"))
        assert "<img src=x>" in text
        assert not set(outside) & set("<>@")

    @given(st.lists(HOSTILE, min_size=7, max_size=7))
    def test_whatever_a_file_holds_is_shown_as_text(self, texts: list[str]) -> None:
        """A Markdown reader with tables and HTML finds no markup but our own."""
        name, package, old, new, limit, file, revision = texts
        change = PackageChange("pypi", package, "upgraded", old, new, direct=True)
        asked = Asked(RequirementChange(package, limit, new, package), (Location(file),))
        referred = Referred("one", name, [LockFile(LINUX_64, "", "1", "", bytes)])
        other = Referred("one", name, [LockFile(LINUX_64, "", "2", "", bytes)])
        each = EnvironmentDiff(name, referred, other, (ArchChanges(LINUX_64, (change,), 1),), (asked,))
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(as_markdown(Diff(revision, "", (each,))))
        inner = [child for token in tokens for child in token.children or ()]
        assert {token.type for token in inner} <= {"text", "code_inline", "strong_open", "strong_close"}
        assert [token.content.strip() for token in tokens if token.type == "html_block"] == [MARKER]
        assert sum(token.type == "tr_open" for token in tokens) == 2
        assert sum(token.type == "td_open" for token in tokens) == 4

    def test_many_packages_are_folded(self, folder: Path, told: Told) -> None:
        names = [f"p{number} 1.0" for number in range(40)]
        locked(folder, {"one": ["alpha 1.1", *names]})
        text = told("--format", "markdown")
        assert "<details><summary>42 packages</summary>\n\n| package" in text
        assert text.count("<details>") == text.count("</details>") == 1

    def test_it_is_never_longer_than_a_comment_may_be(self, folder: Path) -> None:
        names = [f"package-{number} 1.0" for number in range(700)]
        locked(folder, {f"env-{number}": [f"alpha 1.{number}", *names] for number in range(3)}, archs=["linux-64"])
        commit(folder)
        locked(folder, {f"env-{number}": [f"alpha 2.{number}"] for number in range(3)}, archs=["linux-64"])
        text = as_markdown(diff(load_project(folder / "envlock.toml"), []))
        assert LONGEST - 2000 < len(text) <= LONGEST
        assert text.count("<details>") == text.count("</details>")
        assert "`envlock diff` shows all" in text
        assert text.endswith(MARKER)
