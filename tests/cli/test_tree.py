"""`envlock tree` and `envlock why`, on locks that are made by hand: nothing is solved, and every line is known."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.__main__ import main
from envlock.cache.layout import package_path
from envlock.cli import completion
from envlock.config.read import load_project
from envlock.lockfile.canonical_text import body_of, digest_of
from envlock.lockfile.folder import full_id_of
from envlock.model.arch import LINUX_64, OSX_ARM64
from envlock.places import home
from tests.cli.looking import CONFIG, ON_MAC, START, lock, make_project, vision, wheel


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project of `looking`, which is the working folder."""
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


NOT_HERE = "note: 2 wheels not on this machine (exif, photos): what they need of conda packages is not shown\n"
Told = Callable[..., list[str]]


@pytest.fixture
def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """What a command writes to stdout, line by line; it may write nothing to stderr, and ends with 0."""

    def run(*arguments: str) -> list[str]:
        assert main(list(arguments)) == 0
        out, err = capsys.readouterr()
        assert err in {"", NOT_HERE}
        return out.splitlines()

    return run


def test_a_tree_begins_with_what_is_required_and_where_that_is_written(told: Told) -> None:
    assert told("tree", "start") == [
        "Train/start: Python 3.12 on linux-64 and osx-arm64",
        "frame 2.1 (>=2, envlock.toml:8)",
        "├── dates 1.0",
        "│   └── six 1.16.0 on linux-64",
        "└── numbers-lib 1.0 on linux-64, 1.1 on osx-arm64",
        "tool 3.0 (>=1, team.txt:2)",
        "└── six 1.16.0",
        "requests 2.32.3 (>=2.21.0, for Metaflow)",
    ]


def test_one_arch_has_no_marks(told: Told) -> None:
    assert told("tree", "start", "--arch", "osx-arm64", "--depth", "1")[:4] == [
        "Train/start: Python 3.12 on osx-arm64",
        "frame 2.1 (>=2, envlock.toml:8)",
        "├── dates 1.0",
        "└── numbers-lib 1.1",
    ]


def test_a_mixed_tree_says_which_kind_a_package_is_and_ends_cycles(told: Told) -> None:
    assert told("tree", "vision") == [
        "vision: Python 3.12 on linux-64 and osx-arm64",
        "python 3.12.12 [conda] (==3.12.*, envlock.toml:14)",
        "photos 2.0 [pypi] (envlock.toml:15)",
        "└── exif 1.0 [pypi]",
        "    └── photos 2.0 [pypi] (*)",
        "py-opencv 4.9 [conda] (=4, envlock.toml:14)",
        "├── libcv 4.9 [conda]",
        "└── python 3.12.12 [conda]",
    ]


def test_what_a_wheel_needs_of_a_conda_package_is_read_in_the_wheel(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["why", "opencv-python"]) == 0
    assert capsys.readouterr().err == NOT_HERE
    photos = next(each for each in vision("linux-64") if each.name == "photos")
    path = home() / package_path(photos.sha256, photos.filename)
    path.parent.mkdir(parents=True)
    needs = ("OpenCV_Python>=4 ; python_version > '3.9'", "python ; sys_platform == 'win32'", "exif", "broken ; (")
    with zipfile.ZipFile(path, "w") as archive:
        lines = ["Metadata-Version: 2.1", "Name: photos", "Version: 2.0", *(f"Requires-Dist: {each}" for each in needs)]
        archive.writestr("photos-2.0.dist-info/METADATA", "\n".join(lines) + "\n\nRequires-Dist: python\n")
    assert main(["why", "opencv-python"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1:] == [
        "  photos, envlock.toml:15",
        "    photos 2.0 → py-opencv 4.9",
        "  py-opencv =4, envlock.toml:14",
        "    py-opencv 4.9",
    ]
    assert "1 wheel not on this machine (exif)" in err


def test_a_built_package_says_its_source_and_what_built_it(told: Told) -> None:
    lines = told("tree", "Train/end")
    at = lines.index("local 0.1 (from libs/local, envlock.toml:11)")
    assert lines[at + 1 : at + 3] == ["├── six 1.16.0", "└── setuptools 80.9.0 (only to build it)"]


def test_upside_down_it_tells_what_needs_a_package(told: Told) -> None:
    assert told("tree", "start", "--invert", "six") == [
        "Train/start: Python 3.12 on linux-64 and osx-arm64",
        "six 1.16.0",
        "├── dates 1.0 on linux-64",
        "│   └── frame 2.1 (>=2, envlock.toml:8)",
        "└── tool 3.0 (>=1, team.txt:2)",
    ]


def test_the_whole_project_shows_each_environment_and_inverted_only_those_with_the_package(told: Told) -> None:
    titles = [line for line in told("tree") if ": Python" in line]
    assert [title.partition(":")[0] for title in titles] == ["Train/start", "Train/end", "vision"]
    inverted = told("tree", "--invert", "opencv-python")
    assert [line.partition(":")[0] for line in inverted if ": Python" in line] == ["vision"]


def test_environments_with_the_same_locks_share_a_tree(told: Told, folder: Path) -> None:
    config = folder / "envlock.toml"
    config.write_text(CONFIG.replace('pypi = { packages = { local = { path = "libs/local" } } }', ""))
    assert "Train/start and Train/end: Python 3.12 on linux-64 and osx-arm64" in told("tree")


def test_an_environment_that_is_not_locked_is_named_and_hides_no_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "envlock.toml"
    config.write_text(CONFIG.replace('photos = ""', 'photos = "<2"'))
    assert main(["tree"]) == 0
    out, err = capsys.readouterr()
    assert "Train/start" in out
    assert err == "not locked, and not shown: vision; see `envlock check`\n"
    assert main(["tree", "vision"]) == 1
    assert "error[stale-lock]" in capsys.readouterr().err


def test_a_damaged_lock_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = [each for each in (folder / "envlock.lock/linux-64").glob("*/*") if "photos" in each.read_text()]
    path.write_text(path.read_text().replace("exif-1.0", "exif-1.1"))
    assert main(["tree", "vision"]) == 3
    assert "error[damaged-lock]" in capsys.readouterr().err


def test_a_lock_that_envlock_did_not_write_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = [each for each in (folder / "envlock.lock/linux-64").glob("*/*") if "photos" in each.read_text()]
    text = path.read_text()
    body = body_of(text).replace('pypi = ["photos"]', 'pypi = ["photos !"]')
    path.write_text(text.replace(body_of(text), body).replace(digest_of(body_of(text)), digest_of(body)))
    assert main(["tree", full_id_of(path)[:12]]) == 3
    assert "error[damaged-lock]" in capsys.readouterr().err


def test_machines_get_packages_and_edges(told: Told) -> None:
    (found,) = json.loads("\n".join(told("tree", "start", "--json")))["environments"]
    assert (found["names"], found["archs"]) == (["Train/start"], ["linux-64", "osx-arm64"])
    assert found["roots"][0] == {
        "kind": "pypi",
        "name": "frame",
        "why": "required",
        "requirement": "frame>=2",
        "path": "envlock.toml",
        "line": 8,
        "archs": ["linux-64", "osx-arm64"],
    }
    packages = {each["name"]: each for each in found["packages"]}
    assert packages["numbers-lib"]["versions"] == {"linux-64": "1.0", "osx-arm64": "1.1"}
    assert packages["dates"]["needs"] == [{"kind": "pypi", "name": "six", "archs": ["linux-64"]}]


def test_why_tells_every_path_and_the_line_that_began_it(told: Told) -> None:
    assert told("why", "six") == [
        "six 1.16.0 in Train/start and Train/end on linux-64 and osx-arm64",
        "  frame>=2, envlock.toml:8 in Train/start and Train/end on linux-64",
        "    frame 2.1 → dates 1.0 → six 1.16.0",
        "  tool>=1, team.txt:2",
        "    tool 3.0 → six 1.16.0",
        "  local from libs/local, envlock.toml:11 in Train/end",
        "    local 0.1 → six 1.16.0",
    ]


def test_why_of_what_metaflow_needs_and_of_python(told: Told) -> None:
    assert told("why", "requests", "start")[1:] == ["  requests>=2.21.0, for Metaflow", "    requests 2.32.3"]
    assert told("why", "python")[1] == "  python==3.12.*, envlock.toml:14"


def test_why_finds_the_conda_package_that_provides_a_distribution(told: Told) -> None:
    assert told("why", "OpenCV_Python") == [
        "py-opencv 4.9 [conda], which provides opencv-python, in vision on linux-64 and osx-arm64",
        "  py-opencv =4, envlock.toml:14",
        "    py-opencv 4.9",
    ]


def test_why_of_what_only_builds(told: Told) -> None:
    lines = told("why", "setuptools")
    assert lines[0] == "setuptools 80.9.0 in Train/end on linux-64 and osx-arm64"
    assert lines[-1] == "    local 0.1 → setuptools 80.9.0"


def test_versions_that_differ_by_arch_are_told_apart(told: Told) -> None:
    assert [line for line in told("why", "numbers-lib", "start") if not line.startswith("  ") and line] == [
        "numbers-lib 1.0 in Train/start on linux-64",
        "numbers-lib 1.1 in Train/start on osx-arm64",
    ]


def test_why_for_machines(told: Told) -> None:
    (found,) = json.loads("\n".join(told("why", "six", "start", "--json")))["packages"]
    first, second = found["paths"]
    assert (first["began"]["path"], first["began"]["line"]) == ("envlock.toml", 8)
    assert [each["name"] for each in first["packages"]] == ["frame", "dates", "six"]
    assert first["places"] == [{"environments": ["Train/start"], "archs": ["linux-64"]}]
    assert (second["began"]["path"], second["began"]["line"], found["more_paths"]) == ("team.txt", 2, 0)


@pytest.mark.parametrize("command", [("why", "sxi"), ("tree", "--invert", "sxi")])
def test_a_package_that_is_not_locked_is_an_error_with_the_nearest_name(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert main([*command]) == 2
    said = capsys.readouterr().err
    assert "error[package-not-locked]" in said
    assert "did you mean `six`?" in said


def test_a_python_that_is_no_package_is_said_to_be_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "python", "start"]) == 2
    assert "their Python is no package: `envlock show`" in capsys.readouterr().err


def test_a_base_that_is_extended_is_the_reason_for_its_packages(folder: Path, told: Told) -> None:
    from envlock.named.pin import Pin, write_pin

    base = next(each for each in load_project(folder / "envlock.toml").environments() if each.name == "Train/start")
    pin = Pin("name", "team/base:v1", base.requirements, ((LINUX_64, "ab" * 20), (OSX_ARM64, "cd" * 20)))
    write_pin(folder / "envlock.lock", pin)
    with (folder / "envlock.toml").open("a") as file:
        file.write('[env.more]\nnamed_env = { name = "team/base:v1" }\npypi = { packages = { extra = "" } }\n')
    extra = wheel("extra", "1.0", "six")
    lock(folder, "more", (START[0], extra, *START[1:]), (ON_MAC[0], extra, *ON_MAC[1:]))
    lines = told("tree", "more", "--depth", "0")
    assert lines[1:] == [
        "extra 1.0 (envlock.toml:18)",
        "requests 2.32.3 (>=2.21.0, for Metaflow)",
        "frame 2.1 (>=2, of the base, envlock.toml:17)",
        "tool 3.0 (>=1, of the base, envlock.toml:17)",
    ]


def test_a_long_chain_ends(folder: Path, told: Told) -> None:
    chain = [wheel(f"link{n:04}", "1.0", f"link{n + 1:04}") for n in range(1500)]
    last = wheel("link1500", "1.0")
    both = tuple(sorted((*START, *chain, last), key=lambda each: each.name))
    config = folder / "envlock.toml"
    config.write_text(CONFIG.replace('frame = ">=2" }', 'frame = ">=2", link0000 = "" }'))
    lock(folder, "Train/start", both, archs=(LINUX_64,))
    assert any("link1500" in line for line in told("tree", "start", "--arch", "linux-64"))
    assert told("why", "link1500", "start", "--arch", "linux-64")[-1].count("→") == 1500


def test_on_a_terminal_it_has_colours_and_the_same_words(
    told: Told, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    from envlock.cli.console import console

    plain = told("tree")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR")
    console.cache_clear()
    try:
        drawn = told("tree")
    finally:
        console.cache_clear()
    assert any("\x1b[" in line for line in drawn)
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in drawn] == plain


def test_a_pipe_that_is_no_unicode_gets_plain_lines(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from envlock.cli.tree import Style

    style = Style()
    style.is_wide = False
    assert style.branch((False, True)) == "|   `-- "


def test_packages_of_locks_are_completed(folder: Path) -> None:
    assert completion.packages("py") == ["py-opencv", "python"]
    assert completion.packages("zzz") == []
