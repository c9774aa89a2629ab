"""What a text names: the one order in which commands look for environments, before any lock is read.

The first that a text names is what it means: the project's names come first, then what is on this machine, then the
cache.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from envlock.config.past import project_at, project_of_tree
from envlock.config.project import CONFIG_NAME, Project
from envlock.config.selection import Choice, steps_of, tables_of
from envlock.errors import ConfigError, EnvlockError
from envlock.git_objects import NoSuchRevision, NotARepository, ShallowClone, missing, objects_around, tree_of
from envlock.lockfile.folder import full_id_of, lock_files
from envlock.model.arch import Arch
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.named.lookup import Lookup, NamedEnvironment

_IDS = re.compile(r"(?:[0-9a-f]{4,40}:)?[0-9a-f]{4,40}\Z")
_PATHSPEC = re.compile(r"[A-Za-z_]\w*/[A-Za-z0-9][\w.-]*/[A-Za-z_]\w*(?:/[A-Za-z0-9][\w.-]*)?\Z", re.ASCII)
_PATHS = (".", "/", "~")
"""How a path begins."""
_MISSES = ("no-such-selection", "bad-alias", "alias-not-found")
"""The errors that a text names nothing."""
_OF_GIT = re.compile(r"@\{(?:u|upstream|push|-?\d+)\}")
"""What only revisions have; elsewhere `{NAME}` is a variable of the environment."""


class Found(NamedTuple):
    """What a reference names, before any lock is read: one of the fields has it."""

    project: Project
    """The project that was looked in."""
    choices: tuple[Choice, ...] = ()
    """The project's own steps and tables of that name."""
    paths: tuple[Path, ...] = ()
    """Locks of its lock folder, of one environment."""
    file: Path | None = None
    """A lock file, wherever it is."""
    named: NamedEnvironment | None = None
    """What the cache knows, or a prefix says of itself."""
    lookup: Lookup | None = None
    """What looked it up there."""
    revision: str = ""
    """The revision of git that `project` is of."""
    is_whole: bool = False
    """Whether the choices are all that the project has."""


def find(project: Project, wanted: str, archs: Sequence[Arch] = ()) -> Found:
    """What a text names: the order in which it is looked for.

    1. A step, `Flow/step`, a flow, an `[env.*]` table of the project.
    2. Digits of ids, among the project's locks of these archs.
    3. The path of a lock file or of a prefix: a text that ends in `.toml`, or begins with `.`, `/` or `~`.
    4. Any of the first two at a revision of git, before a `:`.
    5. The pathspec of what ran.
    6. An alias, a move of one, or both ids, in the cache: a text with a `:`, `@` or `/`.

    Raises NoSuchSelection, AmbiguousId, LockNotFound, PrefixGone, what `project_at` raises, and what `Lookup` raises.
    """
    own = _own(project, wanted, archs)
    if own is not None:
        return own
    if wanted.startswith(_PATHS) or wanted.endswith(".toml"):
        return _at_path(project, wanted)
    at_revision = _at_revision(project, wanted, archs)
    if at_revision is not None:
        return at_revision
    if _IDS.match(wanted) and ":" not in wanted:
        from envlock.named.errors import LockNotFound

        raise LockNotFound(wanted, project.lock_folder.name, project.cache_url)
    if _is_pathspec(project, wanted):
        lookup = _lookup(project)
        return Found(project, named=lookup.pathspec(wanted), lookup=lookup)
    if {":", "@"} & set(wanted) or ("/" in wanted and project.flow(wanted.partition("/")[0]) is None):
        lookup = _lookup(project)
        return Found(project, named=lookup.reference(wanted), lookup=lookup)
    raise _or_a_revision(project, wanted, _no_such(project, wanted))


def _no_such(project: Project, wanted: str) -> EnvlockError:
    from envlock.config.errors import NoSuchSelection

    steps = steps_of(project)
    right = [each.step for each in steps] + [flow.name for flow in project.flows]
    right += [each.name for each in (*steps, *tables_of(project))]
    return NoSuchSelection("environment", wanted, list(dict.fromkeys(right)), project.path.name)


def _own(project: Project, wanted: str, archs: Sequence[Arch]) -> Found | None:
    """What a text names of the project itself; None if that is nothing."""
    choices = choices_of(project, wanted)
    if choices:
        return Found(project, choices=tuple(choices))
    paths = _with_ids(project, wanted, archs) if _IDS.match(wanted) else ()
    return Found(project, paths=paths) if paths else None


def _at_revision(project: Project, wanted: str, archs: Sequence[Arch]) -> Found | None:
    """What `REVISION:name` names; None if it is something else, such as an alias."""
    revision, colon, name = wanted.rpartition(":")
    if not (colon and revision and name):
        return None
    from envlock.named.alias import parse_move_reference
    from envlock.named.errors import BadAlias

    try:
        parse_move_reference(wanted)
        may_be_alias = True
    except BadAlias:
        may_be_alias = False
    try:
        past = project_at(project, revision)
    except (NotARepository, NoSuchRevision, ShallowClone):
        if may_be_alias or _IDS.match(wanted):
            return None
        raise
    found = _own(past, name, archs)
    if found is not None:
        return found._replace(revision=revision)
    if may_be_alias:
        return None
    raise _no_such(past, name).adding(f"at the revision `{revision}`")


def find_all(project: Project, reference: str = "", archs: Sequence[Arch] = ()) -> Found:
    """As `find`; and whole projects, too.

    Nothing or `.` is this project, a revision is all of it at that revision, and the path of another envlock.toml, or
    of its folder, is that one.
    """
    if reference in {"", "."}:
        return whole(project)
    own = _own(project, reference, archs) or _another_project(reference) or _whole_revision(project, reference)
    try:
        return own or find(project, reference, archs)
    except ConfigError as error:
        if error.code not in _MISSES and not _OF_GIT.search(reference):
            raise
        raise _no_revision_either(project, reference, error) from None


def whole(project: Project, revision: str = "") -> Found:
    """All environments of a project, which may be one of a revision."""
    choices = (*steps_of(project), *tables_of(project))
    return Found(project, choices=choices, revision=revision, is_whole=True)


def _another_project(reference: str) -> Found | None:
    """All of the project at a path; None if it is the path of something else."""
    if not (reference.startswith(_PATHS) or reference.endswith(CONFIG_NAME)):
        return None
    from envlock.config.read import load_project
    from envlock.places import expanded

    path = expanded(reference).absolute()
    config = path if path.name == CONFIG_NAME else path / CONFIG_NAME
    return whole(load_project(config)) if config.is_file() else None


def _or_a_revision(project: Project, wanted: str, error: EnvlockError) -> EnvlockError:
    """The error that nothing has a name, which may be that of a revision."""
    objects = objects_around(project.folder)
    try:
        is_one = objects is not None and tree_of(objects, wanted) is not None
    except NotARepository:
        is_one = False
    return (
        error.adding(f"`{wanted}` is a revision of git: name an environment, such as `{wanted}:STEP`")
        if is_one
        else error
    )


def _whole_revision(project: Project, reference: str) -> Found | None:
    """All of the project at the revision that a text is, with or without a `:` at its end; None if it is none."""
    if reference.startswith(_PATHS):
        return None
    revision = reference.removesuffix(":")
    objects = objects_around(project.folder)
    try:
        tree = tree_of(objects, revision) if objects is not None else None
    except NotARepository:
        return None
    return whole(project_of_tree(project, tree), revision) if tree is not None else None


def _no_revision_either(project: Project, reference: str, error: EnvlockError) -> EnvlockError:
    """The error that a text names nothing, where it may have been meant as a revision of git."""
    objects = objects_around(project.folder)
    if objects is None:
        return error
    why = missing(objects, reference.rpartition(":")[0] or reference)
    is_meant = isinstance(why, ShallowClone) or error.code == "bad-alias" or _OF_GIT.search(reference)
    return why if is_meant else error.adding(f"{why.message} either")


def choices_of(project: Project, wanted: str) -> list[Choice]:
    """The `[env.*]` table of that name; else that step of a flow; else that flow's steps; else steps of that name."""
    steps = steps_of(project)
    return (
        [each for each in tables_of(project) if each.name == wanted]
        or [each for each in steps if each.name == wanted]
        or [each for each in steps if each.flow == wanted]
        or [each for each in steps if each.step == wanted]
    )


def own_choices(project: Project, wanted: str) -> list[Choice]:
    """As `choices_of`. Raises NoSuchSelection for a name that the project does not have."""
    choices = choices_of(project, wanted)
    if not choices:
        raise _no_such(project, wanted)
    return choices


def _with_ids(project: Project, wanted: str, archs: Sequence[Arch]) -> tuple[Path, ...]:
    """The locks of the one environment whose ids begin so. Raises AmbiguousId."""
    req_id, _, full_id = wanted.rpartition(":")
    paths = tuple(
        path
        for path in lock_files(project.lock_folder)
        if (not archs or path.parent.parent.name in archs)
        and path.parent.name.startswith(req_id)
        and full_id_of(path).startswith(full_id)
    )
    identities = sorted({f"{path.parent.name}:{full_id_of(path)}" for path in paths})
    if len(identities) > 1:
        from envlock.named.errors import AmbiguousId

        raise AmbiguousId(wanted, identities)
    return paths


def _is_pathspec(project: Project, wanted: str) -> bool:
    """Whether a text is the pathspec of what ran; a name in a cache has no capitals, and may have as many parts."""
    if not _PATHSPEC.match(wanted):
        return False
    return wanted != wanted.lower() or project.flow(wanted.partition("/")[0]) is not None


def _lookup(project: Project) -> Lookup:
    from envlock.named.lookup import Lookup

    return Lookup(project, recalls=True)


def _at_path(project: Project, wanted: str) -> Found:
    """A lock file, or what a prefix is made from. Raises PrefixGone."""
    from envlock.places import expanded

    path = Path(expanded(wanted)).absolute()
    if path.is_file() or (wanted.endswith(".toml") and os.path.lexists(path)):
        return Found(project, file=path)
    from envlock.hydration.prefix import read_receipt
    from envlock.named.lookup import NamedEnvironment
    from envlock.workflow.errors import PrefixGone

    receipt = read_receipt(path)
    if receipt is None:
        there = path.readlink() if path.is_symlink() else path
        raise PrefixGone(wanted, there.name, is_there=path.is_dir())
    full_ids = ((Arch(receipt.arch), receipt.full_id),)
    return Found(project, named=NamedEnvironment(wanted, receipt.req_id, full_ids), lookup=_lookup(project))
