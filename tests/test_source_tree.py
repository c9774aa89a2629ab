"""The files of a folder that a wheel is built from: the same hash everywhere, and nothing that differs by machine."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from envlock.source_tree import EPOCH, SourceFile, UnusableSource, content_hash, copy_to, files_of

FILES = {
    "pyproject.toml": '[project]\nname = "demo"\nversion = "1.0"\n',
    "src/demo/__init__.py": "X = 1\n",
    "src/demo/data/ä ö.txt": "text\n",
    "bin/tool.sh": "#!/bin/sh\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "demo", FILES)


def paths(folder: Path) -> list[str]:
    return [each.path for each in files_of(folder)]


def test_the_hash_is_this_one_on_every_machine(source: Path) -> None:
    (source / "bin/tool.sh").chmod(0o755)
    assert content_hash(source) == "68705c365d5c65e882897d7a601403d1d416c9bc71307c8268c9ebe52ab2b7f1"


def test_neither_time_nor_owner_nor_umask_nor_place_counts(source: Path, tmp_path: Path) -> None:
    first = content_hash(source)
    other = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(source, other)
    for path in other.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (1, 1))
    assert content_hash(other) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "src/demo/__init__.py").write_text("X = 2\n"),
        lambda folder: (folder / "bin/tool.sh").chmod(0o755),
        lambda folder: (folder / "bin/tool.sh").rename(folder / "bin/tool"),
        lambda folder: (folder / "new.py").write_text(""),
        lambda folder: (folder / "alias.py").symlink_to("new.py"),
        lambda folder: (folder / "src/demo/data/ä ö.txt").unlink(),
    ],
)
def test_bytes_paths_links_and_the_executable_bit_count(source: Path, change) -> None:
    before = content_hash(source)
    change(source)
    assert content_hash(source) != before


def test_what_tools_and_builds_leave_does_not_count(source: Path) -> None:
    before = content_hash(source)
    write(
        source,
        {
            **{f"{folder}/x": "" for folder in (".git", ".hg", ".mypy_cache", ".venv", "src/demo.egg-info", "build")},
            **{f"src/demo/{name}": "" for name in ("__pycache__/a.pyc", "b.pyc", ".DS_Store")},
            "env39/pyvenv.cfg": "",
            "env39/lib/x.py": "",
            "dist/demo.whl": "",
            "envlock.toml": "",
            "envlock.lock/x": "",
        },
    )
    (source / "empty").mkdir()
    assert content_hash(source) == before
    write(source, {"src/demo/build/x.py": ""})  # only at the top is it of builds
    assert content_hash(source) != before


IGNORE = """\
# a comment, and a blank line

*.log
!keep.log
/only-top
logs/
generated_*.py
a/**/z
**/deep/x
deep/y/**
*.py[cod]
[!a-c]?.tmp
\\#odd
spaces.txt  \n\
ends\\ \n\
/src/*/skip
"""
CANDIDATES = (
    *("a.log", "x/keep.log", "x/b.log", "only-top", "x/only-top", "logs/a", "x/logs/b", "logs.txt", "x/logs"),
    *("generated_a.py", "x/generated_b.py", "a/z", "a/b/c/z", "x/a/z", "deep/x", "q/deep/x", "deep/y/1", "q/deep/y/1"),
    *("m.pyo", "d1.tmp", "a1.tmp", "#odd", "spaces.txt", "ends ", "src/demo/skip", "src/skip", "src/a/b/skip"),
    *("sub/only-sub", "sub/x/only-sub", "sub/kept.log", "nested/logs/keep.log"),
)


def test_git_and_this_agree_on_what_is_ignored(tmp_path: Path) -> None:
    top = write(tmp_path, {name: "" for name in CANDIDATES if name not in {"x/logs"}})
    write(top, {".gitignore": IGNORE, "sub/.gitignore": "/only-sub\n!kept.log\n"})
    git(top, "init", "--quiet")
    listed = git(top, "ls-files", "-z", "--cached", "--others", "--exclude-per-directory=.gitignore")
    assert paths(top) == sorted(path for path in listed.split("\0") if path and not path.endswith(".pyo"))
    below = git(top / "sub", "ls-files", "-z", "--cached", "--others", "--exclude-per-directory=.gitignore")
    assert paths(top / "sub") == sorted(filter(None, below.split("\0")))


def test_git_and_this_agree_on_any_pattern(tmp_path: Path) -> None:
    numbers = random.Random(7)
    names = ["a", "b", "ab", "a.b", "foo.log", "x y", "[z]", "a-b", "Z", "é", ".hid", "#c", "!d", "a*b"]
    pieces = [
        *"ab*?/.x ![]#é-\\",
        "**",
        "[ab]",
        "[!a]",
        "[a-z]",
        "[[:upper:]]",
        "[]x]",
        "foo",
        "log",
        "\\*",
        "\\ ",
        "\r",
    ]
    for _ in range(60):
        path = tmp_path.joinpath(*(numbers.choice(names) for _ in range(numbers.randint(1, 4))))
        if not any(each.is_file() for each in path.parents) and not path.exists():
            write(path.parent, {path.name: ""})
    git(tmp_path, "init", "--quiet")
    for _ in range(50):
        lines = [
            numbers.choice(["", "", "", "!", "/"])
            + "".join(numbers.choice(pieces) for _ in range(numbers.randint(1, 5)))
            + numbers.choice(["", "", "", "/"])
            for _ in range(numbers.randint(1, 4))
        ]
        (tmp_path / ".gitignore").write_text("\n".join(lines), encoding="utf-8", newline="")
        listed = git(tmp_path, "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore")
        assert paths(tmp_path) == sorted(filter(None, listed.split("\0")), key=os.fsencode), lines


def test_a_folder_that_git_ignores_counts_whole(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "vendor/\n", "vendor/pkg/setup.py": ""})
    git(tmp_path, "init", "--quiet")
    assert paths(tmp_path / "vendor/pkg") == ["setup.py"]


def test_where_there_is_no_git_the_rules_of_the_project_count(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "*.txt\n", "project/.gitignore": "*.so\n", "project/envlock.toml": ""})
    write(tmp_path, {f"project/libs/common/{name}": "" for name in ("setup.py", "x.so", "y.txt")})
    assert paths(tmp_path / "project/libs/common") == ["setup.py", "y.txt"]
    git(tmp_path, "init", "--quiet")
    assert paths(tmp_path / "project/libs/common") == ["setup.py"]


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "core.excludesFile=/dev/null", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_a_copy_holds_what_was_hashed_with_modes_and_times_of_its_own(source: Path, tmp_path: Path) -> None:
    write(source, {".git/config": "", "build/x": ""})
    (source / "bin/tool.sh").chmod(0o777)
    (source / "alias").symlink_to("bin/tool.sh")
    before = os.umask(0o077)
    try:
        assert copy_to(source, tmp_path / "copy") == content_hash(source)
    finally:
        os.umask(before)
    assert content_hash(tmp_path / "copy") == content_hash(source)
    assert not (tmp_path / "copy/.git").exists()
    assert (tmp_path / "copy/alias").readlink() == Path("bin/tool.sh")
    modes = {name: (tmp_path / "copy" / name).stat().st_mode & 0o777 for name in ("bin/tool.sh", "pyproject.toml")}
    assert modes == {"bin/tool.sh": 0o755, "pyproject.toml": 0o644}
    assert (tmp_path / "copy/pyproject.toml").stat().st_mtime == EPOCH


def test_a_link_to_a_file_elsewhere_in_the_project_counts_as_that_file(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    write(tmp_path, {"LICENSE": "free\n", "libs/common/setup.py": ""})
    (tmp_path / "libs/common/LICENSE").symlink_to("../../LICENSE")
    (tmp_path / "libs/common/again.py").symlink_to("../common/setup.py")
    found = {each.path: each for each in files_of(tmp_path / "libs/common")}
    assert found["LICENSE"] == SourceFile("LICENSE", str(tmp_path / "LICENSE"))
    before = content_hash(tmp_path / "libs/common")
    (tmp_path / "LICENSE").write_text("not free\n")
    assert content_hash(tmp_path / "libs/common") != before


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../outside", "../../other"])
def test_a_link_that_leads_out_is_refused(source: Path, target: str) -> None:
    write(source.parent, {"other/x": "", "../outside": ""})
    (source / "src/link").symlink_to(target)
    with pytest.raises(UnusableSource) as refused:
        content_hash(source)
    assert refused.value.path == "src/link"


def test_what_is_no_file_is_refused_at_once(source: Path) -> None:
    os.mkfifo(source / "src/pipe")
    with pytest.raises(UnusableSource) as refused:
        content_hash(source)
    assert refused.value.path == "src/pipe"


def test_a_source_has_bounds(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("envlock.source_tree.SOURCE_FILES", 3)
        with pytest.raises(UnusableSource):
            content_hash(source)
    with (source / "large.bin").open("wb") as file:
        file.truncate((1 << 20) + 1)
    monkeypatch.setattr("envlock.source_tree.SOURCE_BYTES", 1 << 20)
    with pytest.raises(UnusableSource) as refused:
        content_hash(source)
    assert refused.value.path == "large.bin"


def test_a_folder_of_300_files_is_read_in_some_milliseconds(tmp_path: Path) -> None:
    write(tmp_path, {f"src/pkg{n % 20}/module_{n}.py": "X = 1\n" * 500 for n in range(300)})
    write(tmp_path, {".gitignore": "".join(f"*.ext{n}\nname{n}/\nodd{n}*\n" for n in range(30))})
    content_hash(tmp_path)
    times = []
    for _ in range(7):
        start = time.process_time()  # of this process alone: others run beside it
        content_hash(tmp_path)
        times.append(time.process_time() - start)
    assert min(times) < 0.015
