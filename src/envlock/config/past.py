"""A project as it was at a revision of git."""

from __future__ import annotations

import os
from pathlib import Path

from envlock.config.errors import RevisionWithoutLocks
from envlock.config.project import Project
from envlock.config.read import project_of
from envlock.errors import EnvlockError, ManyErrors
from envlock.files import CONFIG_BYTES, read_file
from envlock.git_objects import NotARepository, Tree, missing, objects_around, tree_of
from envlock.places import UnreadableConfig
from envlock.revisions import is_file, is_folder


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
        raise _at(tree, error) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableConfig(f"{tree.revision}:{place / project.path.name}", str(error)) from None
    if not is_folder(past.lock_folder):
        raise RevisionWithoutLocks(tree.revision, str(place / past.lock_folder.name))
    return past


def _at(tree: Tree, error: EnvlockError) -> EnvlockError:
    """The error, which is about a file of a revision, with paths that say so."""
    if isinstance(error, ManyErrors):
        return ManyErrors(tuple(_at(tree, each) for each in error.errors))
    return error.moved(f"{tree.root}/", f"{tree.revision}:")
