"""What is at a path of a revision is what lay on the disk when it was committed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envlock.files import NotPlain, is_of, read_file
from envlock.git_objects import NotARepository, objects_around, tree_of
from envlock.revisions import (
    digest_of,
    exists,
    files_below,
    is_file,
    is_folder,
    link_at,
    listed,
    matching,
    mode_and_size,
    mode_of,
    names_in,
    read_ahead,
    real,
    tree_with,
)
from tests.build.repositories import commit, git

FILES = {
    "plain.txt": "plain\n",
    "run.sh": "#!/bin/sh\n",
    "empty": "",
    "folder/a.py": "a = 1\n",
    "folder/inner/b.py": "b = 1\n",
    "folder/inner/deeper/c.toml": "c = 1\n",
    "strange/name with spaces, ünïcode and \n a line": "x",
    "zzz": "last\n",
}
LINKS = {
    "to-file": "plain.txt",
    "to-folder": "folder",
    "up": "folder/../plain.txt",
    "folder/inner/back": "../../plain.txt",
    "folder/through": "../to-folder/inner",
    "chain": "to-file",
    "dangling": "nowhere",
    "loop": "loop",
    "out": "../outside.txt",
    "absolute": "/etc/hostname",
}
OUT = {"out", "absolute", "loop"}
"""Links that lead somewhere on a disk, or to themselves, and nowhere in a revision."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder on the disk, and the top folder of the revision that has the same."""
    top = tmp_path_factory.mktemp("revisions") / "top"
    (top.parent / "outside.txt").parent.mkdir(exist_ok=True)
    (top.parent / "outside.txt").write_text("outside\n")
    commit(top, FILES)
    (top / "run.sh").chmod(0o755)
    for name, target in LINKS.items():
        (top / name).symlink_to(target)
    os.mkfifo(top / "pipe")
    commit(top)
    (top / "pipe").unlink()
    objects = objects_around(top / "folder")
    assert objects is not None
    tree = tree_of(objects, "main")
    assert tree is not None
    return top, Path(tree.root)


def paths() -> list[str]:
    named = [*FILES, *LINKS, *(f"{link}/inner/b.py" for link in ("to-folder", "folder/through/..", "dangling"))]
    folders = ["", "folder", "folder/inner", "folder/../folder", "strange", "to-folder/inner/deeper", "folder/through"]
    return [*named, *folders, "plain.txt/below", "no/such/file", "folder/no", ".git"]


@pytest.mark.parametrize("path", paths())
def test_every_look_at_a_path_finds_the_same(both: tuple[Path, Path], path: str) -> None:
    disk, revision = (f"{each}/{path}".rstrip("/") for each in both)
    if Path(path).name in OUT:
        assert not exists(revision)
        assert exists(revision, follow=False)
        with pytest.raises(OSError, match=r"."):
            read_file(revision, 100)
        return
    for look in (is_file, is_folder, exists):
        assert look(revision) == look(disk), look
    assert exists(revision, follow=False) == exists(disk, follow=False)
    assert bool(mode_of(revision) & 0o100) == bool(mode_of(disk) & 0o100) or is_folder(disk)
    assert Path(disk).is_symlink() == ((mode_of(revision, follow=False) & 0o170000) == 0o120000)
    if is_file(disk):
        assert read_file(revision, 100) == read_file(disk, 100)
        assert digest_of(revision, 100) == digest_of(disk, 100)
        assert mode_and_size(revision)[1] == mode_and_size(disk)[1]
        assert real(revision).removeprefix(str(both[1])) == real(disk).removeprefix(os.path.realpath(both[0]))
        assert is_of(revision, both[1])
        assert not is_of(disk, both[1])
    if path == ".git":
        assert names_in(revision) == []
    elif is_folder(disk):
        names = [each for each in sorted(names_in(disk)) if each != ".git"]
        assert sorted(names_in(revision)) == names
        assert {each.name: each.is_dir(follow_symlinks=False) for each in listed(revision)} == {
            each.name: each.is_dir(follow_symlinks=False) for each in listed(disk) if each.name != ".git"
        }
    else:
        with pytest.raises(OSError, match=r"."):
            names_in(revision)


@pytest.mark.parametrize("pattern", ["*", "*.txt", "folder/*", "folder/*/*.py", "**/*.py", "**", "no/*", "folder/**"])
def test_patterns_match_the_same(both: tuple[Path, Path], pattern: str) -> None:
    disk, revision = both
    found = {str(each.relative_to(disk)) for each in matching(disk, pattern)}
    assert {str(each.relative_to(revision)) for each in matching(revision, pattern)} == {
        each for each in found if not each.startswith(".git")
    }


def test_all_files_below_are_the_same(both: tuple[Path, Path]) -> None:
    def below(top: Path) -> set[str]:
        found = (f"{folder}/{name}" for folder, names in files_below(top) for name in names)
        return {each.removeprefix(f"{top}/") for each in found}

    assert below(both[1]) == {each for each in below(both[0]) if not each.startswith(".git/")} == {*FILES, *LINKS}


def test_links_say_the_same(both: tuple[Path, Path]) -> None:
    for name, target in LINKS.items():
        assert link_at(str(both[1] / name)) == link_at(str(both[0] / name)) == target
    with pytest.raises(OSError, match=r"."):
        link_at(str(both[1] / "nothing"))


def test_a_file_that_is_too_large_is_not_read(both: tuple[Path, Path]) -> None:
    with pytest.raises(NotPlain):
        read_file(both[1] / "plain.txt", 3)
    with pytest.raises(IsADirectoryError):
        read_file(both[1] / "folder", 100)


def test_a_revision_that_nobody_opened_has_nothing(both: tuple[Path, Path]) -> None:
    unknown = Path("/dev/null/" + "0" * 40)
    assert not exists(unknown / "plain.txt")
    assert tree_with(unknown) is None
    assert tree_with(both[0]) is None
    read_ahead([unknown / "plain.txt", both[0], both[1] / "no", both[1] / "folder"], depth=3)
    with pytest.raises(FileNotFoundError):
        read_file(unknown / "plain.txt", 100)


def test_a_large_file_is_hashed_and_never_kept(tmp_path: Path) -> None:
    commit(tmp_path, {"large": "x" * (3 << 20), "small": "y"})
    objects = objects_around(tmp_path)
    assert objects is not None
    tree = tree_of(objects, "HEAD")
    assert tree is not None
    for name in ("large", "small"):
        assert digest_of(f"{tree.root}/{name}", 4 << 20) == digest_of(str(tmp_path / name), 4 << 20)
    with pytest.raises(NotPlain):
        digest_of(f"{tree.root}/large", 1 << 20)
    read_ahead([Path(tree.root, "small")])
    assert digest_of(f"{tree.root}/small", 1) == digest_of(str(tmp_path / "small"), 1)
    large = objects.get("HEAD:large", 1 << 20)
    assert large is not None
    assert (large.size, large.data) == (3 << 20, b"")
    assert objects.get("HEAD:small", 1 << 20) is not None, "what is too large is read past"


@pytest.mark.parametrize(
    "data", [b"", b"100644 plain", b"x y\0" + b"1" * 20, b"100644 a\0" + b"1" * 20, b"40000 a\0" + b"\0" * 20]
)
def test_a_folder_that_is_none_has_nothing(tmp_path: Path, data: bytes) -> None:
    commit(tmp_path, {"a": "x"})
    (tmp_path / "tree").write_bytes(data)
    made = git(tmp_path, "hash-object", "-t", "tree", "-w", "--literally", "tree")
    text = git(tmp_path, "cat-file", "commit", "HEAD").replace(git(tmp_path, "rev-parse", "HEAD^{tree}"), made)
    (tmp_path / "commit").write_text(f"{text}\n")
    head = git(tmp_path, "hash-object", "-t", "commit", "-w", "--literally", "commit")
    objects = objects_around(tmp_path)
    assert objects is not None
    tree = tree_of(objects, head)
    assert tree is not None
    for path in ("a", "a/b", "b"):
        with pytest.raises((OSError, NotARepository), match=r"."):
            read_file(f"{tree.root}/{path}", 100)


def test_a_folder_that_git_lacks_is_not_an_empty_one(tmp_path: Path) -> None:
    """Else locks that cannot be read would be locks that nobody made."""
    commit(tmp_path, {"locks/a": "x"})
    lacking = git(tmp_path, "rev-parse", "HEAD:locks")
    (tmp_path / ".git" / "objects" / lacking[:2] / lacking[2:]).unlink()
    objects = objects_around(tmp_path)
    assert objects is not None
    tree = tree_of(objects, "HEAD")
    assert tree is not None
    with pytest.raises(NotARepository):
        names_in(f"{tree.root}/locks")
