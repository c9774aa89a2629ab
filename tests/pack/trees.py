"""Trees as tests compare them, and the pieces that make them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from envlock.hydration.port import ArtifactSource, Pythons
from envlock.model.lock import Lock
from envlock.pack.tree import Tree, tree_of
from tests.hydration.making import Heard, MachinePythons


class Content(NamedTuple):
    """What a pack has of a file: all but where its bytes are."""

    data: bytes
    link: str
    executable: bool
    prefix: str
    package: str


def contents(tree: Tree) -> dict[str, Content]:
    """Each file of a tree, in the order of the tree."""
    found = {}
    for file in tree.files:
        data = file.source.read_bytes() if file.source is not None else b""
        assert len(data) == file.size, f"{file.path} has another size"
        found[file.path] = Content(data, file.link, file.executable, file.prefix, file.package)
    assert len(found) == len(tree.files), "a path is there twice"
    return found


def tree_in(
    lock: Lock, source: ArtifactSource, scratch: Path, *, pythons: Pythons | None = None, compiler: str = ""
) -> tuple[Tree, dict[str, Content]]:
    """A tree, without the list of its files, and what these have. It is made in a folder, which is empty afterwards."""
    scratch.mkdir(exist_ok=True, parents=True)
    with tree_of(lock, source, scratch, Heard(), interpreters=pythons or MachinePythons(), compiler=compiler) as tree:
        found = contents(tree)
    assert not list(scratch.iterdir()), "the scratch folder is left clean"
    return tree._replace(files=()), found
