"""An index is asked by its mirror, and locks, ids and verdicts know nothing of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Envlock, ProjectFolder
from tests.index import Index

TOKEN = "t0ken-of-a-mirror"


@pytest.fixture
def upstream(make_index: Callable[..., Index]) -> Index:
    return make_index()


@pytest.fixture
def locked(project: ProjectFolder, upstream: Index, envlock: Envlock) -> dict[str, bytes]:
    """The files of the lock folder, locked from upstream, which is gone then; the project is without them."""
    project.write_env("alpha>=1", "lam", settings=f'index-url = "{upstream.url}"', archs=["linux-64"])
    envlock("lock")
    return files_of(project)


def files_of(project: ProjectFolder) -> dict[str, bytes]:
    """The lock folder, without the line that says when a lock was made."""
    return {
        path.relative_to(project.folder).as_posix(): re.sub(rb'resolved-at = "[^"]*"', b"", path.read_bytes())
        for path in sorted(project.lock_folder.rglob("*"))
        if path.is_file()
    }


def remove(project: ProjectFolder) -> None:
    for path in sorted(project.lock_folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def rows(upstream: Index, mirror: Index, *, files: bool = True, token: str = "") -> dict[str, str]:
    """The mirrors of the index and of its files."""
    base = mirror.base if not token else mirror.base.replace("http://", f"http://{token}@")
    found = {upstream.url.rstrip("/"): f"{base}simple"}
    return {**found, f"{upstream.base}files": f"{base}files/"} if files else found


def write_user_file(isolated: Path, mirrors: dict[str, str]) -> None:
    path = isolated / "config" / "envlock" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[envlock.index-mirrors]\n" + "".join(f'"{key}" = "{value}"\n' for key, value in mirrors.items()))


def test_a_lock_of_a_mirror_is_that_of_upstream_to_the_byte(
    project: ProjectFolder,
    locked: dict[str, bytes],
    upstream: Index,
    make_index: Callable[..., Index],
    envlock: Envlock,
    isolated: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mirror = make_index(credentials=("reader", TOKEN))
    monkeypatch.setenv("MIRROR_TOKEN", TOKEN)
    write_user_file(isolated, rows(upstream, mirror, token="reader:${MIRROR_TOKEN}"))
    upstream.close()
    remove(project)
    said = envlock("lock").text
    assert files_of(project) == locked
    envlock("check")
    pushed = envlock("push").text
    assert mirror.downloads(), "the wheels come from the mirror"
    envlock("check", "--online")
    assert TOKEN not in said + pushed + "".join(each.decode() for each in files_of(project).values())
    shown = json.loads(envlock("config", "show", "index-mirrors", "--json").stdout)["settings"]
    assert len(shown) == 2
    assert TOKEN not in json.dumps(shown)
