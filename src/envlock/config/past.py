"""A project as it was at a revision of git."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envlock.config.errors import RevisionWithoutLocks
from envlock.config.project import Project
from envlock.config.read import project_of
from envlock.errors import EnvlockError, ManyErrors, StaleError
from envlock.files import CONFIG_BYTES, read_file
from envlock.git_objects import NotARepository, Tree, missing, objects_around, tree_of
from envlock.places import UnreadableConfig
from envlock.revisions import is_file, is_folder, tree_with


def project_at(project: Project, revision: str) -> Project:
    """A project as it was at a revision of git: envlock.toml, the files that it names, and its locks, read from git.

    Raises NotARepository, NoSuchRevision, ShallowClone, RevisionWithoutLocks, and what is wrong with that envlock.toml.
    """
    return project_of_tree(project, tree_at(project, revision))


def tree_at(project: Project, revision: str) -> Tree:
    """The files of the commit that a revision means. Raises NotARepository, NoSuchRevision, ShallowClone."""
    objects = objects_around(project.folder)
    if objects is None:
        raise NotARepository(revision=revision, reason=f"{project.folder} is in no git repository")
    tree = tree_of(objects, revision)
    if tree is None:
        raise missing(objects, revision)
    return tree


def committed(project: Project, path: Path) -> bytes | None:
    """What a file of a project last held in the history of git, on any branch; None if it was never committed.

    Costs a walk through the history if the last commit does not have the file.
    """
    objects = objects_around(project.folder)
    if objects is None:
        return None
    below = os.path.relpath(os.path.realpath(project.folder), objects.top)
    place = os.path.normpath(f"{below}/{project.shown(path)}")
    try:
        found = objects.get(f"HEAD:{place}")
        if found is None:
            last = objects.run("rev-list", "-1", "--all", "--", f":(top,literal){place}").strip()
            # The last commit that changed it may be the one that deleted it.
            found = (objects.get(f"{last}:{place}") or objects.get(f"{last}^:{place}")) if last else None
    except NotARepository:
        return None
    return found.data if found is not None and found.type == "blob" else None


def project_of_tree(project: Project, tree: Tree) -> Project:
    """As `project_at`, of a commit that is open. Raises RevisionWithoutLocks, and what is wrong with envlock.toml."""
    below = os.path.relpath(os.path.realpath(project.folder), tree.top)
    folder = Path(tree.root, below)
    config = folder / project.path.name
    place = Path(below)
    if not is_file(config):
        raise RevisionWithoutLocks(tree.revision, str(place / project.path.name))
    try:
        past = project_of(config, read_file(config, CONFIG_BYTES).decode())
    except EnvlockError as error:
        raise _of_tree(tree, error) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableConfig(f"{tree.revision}:{place / project.path.name}", str(error)) from None
    if not is_folder(past.lock_folder):
        raise RevisionWithoutLocks(tree.revision, str(place / past.lock_folder.name))
    return past


def shown_path(project: Project, path: Path) -> str:
    """The path of a file of a project as messages name it: of a project of a revision, with the revision."""
    tree = tree_with(path)
    return f"{tree.revision}:{project.shown(path)}" if tree is not None else project.shown(path)


@contextmanager
def errors_told_of(project: Project) -> Iterator[None]:
    """Errors about a project of a revision name the revision; all others are raised as they are."""
    try:
        yield
    except EnvlockError as error:
        tree = tree_with(project.folder)
        if tree is None:
            raise
        raise _of_tree(tree, error) from None


def _of_tree(tree: Tree, error: EnvlockError) -> EnvlockError:
    """The error, which is about a file of a revision, with paths that say so. Locking now would not help."""
    if isinstance(error, ManyErrors):
        return ManyErrors(tuple(_of_tree(tree, each) for each in error.errors))
    if isinstance(error, StaleError):
        error = error.adding(f"at the revision `{tree.revision}`")
    return error.moved(f"{tree.root}/", f"{tree.revision}:", keep_hint=not isinstance(error, StaleError))
