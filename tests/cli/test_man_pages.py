"""The man pages: one for each command, current, in the wheel, and in the language of roff."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import tomli
from uv import find_uv_bin

from envlock.cli import PANELS
from envlock.cli.command import GLOBAL
from scripts.man_pages import FOLDER, man_pages
from tests.cli.test_command import commands

ROOT = FOLDER.parent
NAMES = {"envlock", *(f"envlock-{name}" for names in PANELS.values() for name in names)}
MACROS = {".TH", ".SH", ".SS", ".TP", ".PP", ".RS", ".RE", ".nf", ".fi", '.\\"'}


def unescaped(text: str) -> str:
    return re.sub(r"\\f[BR]|\\&", "", text).replace("\\-", "-").replace("\\e", "\\")


def test_there_is_a_page_for_each_command_and_no_other() -> None:
    assert {page.stem for page in man_pages()} == NAMES
    assert {page.name for page in FOLDER.iterdir()} == {page.name for page in man_pages()}
    assert [page.name for page, text in man_pages().items() if page.read_text(encoding="utf-8") != text] == []


def test_the_wheel_takes_them_to_where_man_looks() -> None:
    found = tomli.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    assert {place: {path.name for glob in globs for path in ROOT.glob(glob)} for place, globs in found.items()} == {
        "share/man/man1": {f"{name}.1" for name in NAMES}
    }


@pytest.mark.index
def test_the_wheel_has_them(tmp_path: Path) -> None:
    for name in ("src", "man"):  # a copy, as setuptools leaves what it made beside the sources
        shutil.copytree(
            ROOT / name, tmp_path / "tree" / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "tree" / name)
    command = [find_uv_bin(), "build", "--wheel", "--quiet", "--out-dir", tmp_path, tmp_path / "tree"]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    places = {name.rpartition("/")[2] for name in zipfile.ZipFile(wheel).namelist() if "/data/share/man/man1/" in name}
    assert places == {f"{name}.1" for name in NAMES}


def test_each_page_has_all_that_help_has() -> None:
    pages = {page.stem: unescaped(text) for page, text in man_pages().items()}
    for words, command in commands():
        text = pages[f"envlock-{words[0]}"]
        assert command.name in text
        for param in (*command.params, *GLOBAL):
            assert f"\n{param.usage}\n" in text, f"{words} {param.name}"
            assert param.meaning.replace("`", "") in text, f"{words} {param.name}"
        assert command.epilog.removeprefix("Exit status: ").replace("`", "") in text
    assert all(f"\nenvlock {name}\n" in pages["envlock"] for names in PANELS.values() for name in names)


def test_each_page_is_plain_roff() -> None:
    for page, text in man_pages().items():
        assert text.count(".SH NAME\n") == 1, page.name
        assert text.count(".nf") == text.count(".fi") == text.count(".RS") == text.count(".RE")
        for line in text.splitlines():
            assert line.split(" ")[0] in MACROS if line.startswith((".", "'")) else True, line
            assert line, page.name
            assert re.sub(r'\\(f[BR]|-|e|&|")', "", line).count("\\") == 0, line
            assert "`" not in line, line


def test_a_reader_of_man_pages_has_nothing_to_say() -> None:
    mandoc, groff = shutil.which("mandoc"), shutil.which("groff")
    if not (mandoc or groff):
        pytest.skip("neither mandoc nor groff is here")
    command = [mandoc, "-T", "lint", "-W", "error"] if mandoc else [groff, "-man", "-Tutf8", "-ww", "-z"]
    done = subprocess.run([*command, *map(str, man_pages())], capture_output=True, text=True, check=False)  # type: ignore[list-item]
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
