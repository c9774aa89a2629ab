"""`diff`: how environments differ, those of a whole project or two that are named: packages, and what is required.

Reads locks only where their ids differ. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from envlock.config.errors import NoSuchSelection
from envlock.config.past import project_of_tree, tree_at
from envlock.config.project import Project
from envlock.config.selection import Selection
from envlock.errors import Location
from envlock.lockfile.changes import (
    ArchChanges,
    FoldedChange,
    asked_in,
    compare,
    compare_files,
    fold,
    removed,
)
from envlock.lockfile.required_changes import RequirementChange, requirement_changes
from envlock.model.arch import Arch
from envlock.revisions import read_ahead
from envlock.values import NamedTuple
from envlock.words import first_of
from envlock.workflow.find import Found, find_all, whole
from envlock.workflow.references import Referred, all_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envlock.git_objects import Tree

_PLACES_SHOWN = 3


class Asked(NamedTuple):
    """A requirement that differs, and where it is written."""

    change: RequirementChange
    places: tuple[Location, ...] = ()
    """Of what is required now or, if that is gone, was: one for each environment that differs so; none in no file."""

    @property
    def at(self) -> str:
        """The places for a person: `envlock.toml:5`."""
        return first_of(list(map(str, self.places)), _PLACES_SHOWN)


class EnvironmentDiff(NamedTuple):
    """How one environment differs from another, or from what it was."""

    name: str
    """`Train/start`; `Train/start -> Train/begin`, if it has another name."""
    before: Referred | None
    """None if it is new."""
    after: Referred | None
    """None if it is gone."""
    changes: tuple[ArchChanges, ...]
    """For each arch that both are locked for."""
    asked: tuple[Asked, ...]
    is_renamed: bool = False
    others: tuple[EnvironmentDiff, ...] = ()
    """In a group, the other environments, which have the same change."""

    @property
    def archs_added(self) -> tuple[Arch, ...]:
        """Archs that only the second is locked for."""
        return self._only(self.after, self.before)

    @property
    def archs_removed(self) -> tuple[Arch, ...]:
        """Archs that only the first is locked for."""
        return self._only(self.before, self.after)

    @staticmethod
    def _only(one: Referred | None, other: Referred | None) -> tuple[Arch, ...]:
        return tuple(arch for arch in one.archs if arch not in {*other.files, *other.several}) if one and other else ()

    @property
    def state(self) -> str:
        """`added`, `removed`, `unlocked` (no longer, or not yet, locked), `changed`, `renamed`, or `same`."""
        if self.before is None or self.after is None:
            return "added" if self.before is None else "removed"
        if not self.after.files or not self.before.files:
            is_lost = self.asked or self.archs_removed or self.after.several
            return "unlocked" if is_lost else "changed" if self.archs_added else "same"
        is_moved = any(each.changes for each in self.changes) or self.archs_added or self.archs_removed
        if is_moved or self.asked or self.after.several != self.before.several:
            return "changed"
        return "renamed" if self.is_renamed else "same"

    @property
    def folded(self) -> tuple[FoldedChange, ...]:
        """The changes, each once with all archs that have it."""
        return fold(self.changes)

    @property
    def all_changes(self) -> tuple[ArchChanges, ...]:
        """As `changes`; of an environment that came or went, all of its packages."""
        if self.before is None and self.after is not None:
            return tuple(compare(None, self.after.rows(arch)) for arch in self.after.archs)
        if self.after is None and self.before is not None:
            return tuple(removed(self.before.rows(arch)) for arch in self.before.archs)
        return self.changes

    @property
    def body(self) -> tuple[object, ...]:
        """What environments with the same change have in common, apart from their names and lines."""
        archs = tuple(each.archs if each else () for each in (self.before, self.after))
        return (self.state, self.folded, tuple(each.change for each in self.asked), archs)


class Diff(NamedTuple):
    """How several environments differ."""

    before: str
    """What was compared: a revision, a reference."""
    after: str
    """Empty for the working folder."""
    environments: tuple[EnvironmentDiff, ...]

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return all(each.state == "same" for each in self.environments)

    @property
    def groups(self) -> tuple[tuple[tuple[str, ...], EnvironmentDiff], ...]:
        """The environments that differ, those with the same change together: their names, and the change.

        Of what is required, each place is named.
        """
        groups: dict[object, list[EnvironmentDiff]] = {}
        for each in self.environments:
            if each.state != "same":
                groups.setdefault(each.body, []).append(each)
        return tuple((tuple(each.name for each in group), _merged(group)) for group in groups.values())


def _merged(group: Sequence[EnvironmentDiff]) -> EnvironmentDiff:
    asked = []
    for same in zip(*(each.asked for each in group), strict=True):
        places = dict.fromkeys(place for each in same for place in each.places)
        asked.append(Asked(same[0].change, tuple(places)))
    return group[0]._replace(asked=tuple(asked), others=tuple(group[1:]))


def diff(
    project: Project, references: Sequence[str] = (), selection: Selection | None = None, archs: Sequence[Arch] = ()
) -> Diff:
    """How what two texts name differs: the project at revisions, or one environment and another.

    Nothing is `HEAD` and the working folder; one text is a revision, or an environment at a revision, and the working
    folder. `A..B` is two revisions, and `A...B` is where the second left the first, and the second. Raises what
    `find.find_all` and `project_at` raise, NoSuchSelection, NothingToCompareWith, and what is wrong with a lock.
    """
    before, after = _sides(project, tuple(references), archs)
    projects = [each.found.project for each in (before, after)]
    if any(all(arch not in each.settings.archs for each in projects) for arch in archs):
        Selection(archs=tuple(archs)).choose_archs(projects[-1])  # raises
    if selection is not None and not selection.is_everything:
        names = _selected(selection, projects)
        before, after = before.of(names), after.of(names)
    elif before.found.is_whole and not after.found.is_whole:  # `main train`
        before = before.of({_own_name(each) for each in after.environments})
    elif after.found.is_whole and not before.found.is_whole:
        after = after.of({_own_name(each) for each in before.environments})
    is_of_two = not (before.found.is_whole or after.found.is_whole)
    if is_of_two and len(before.environments) == len(after.environments) == 1:
        one, other = before.environments[0], after.environments[0]
        pairs = [difference(one.beside(other), other.beside(one))]
    else:
        paired = _paired(before.environments, after.environments)
        read_ahead(
            file.path
            for one, other in paired
            if one and other and one.full_ids != other.full_ids
            for each in (one, other)
            for file in each.files.values()
            if file.path is not None
        )
        pairs = [
            difference(one, other, is_renamed=bool(one and other and _own_name(one) != _own_name(other)))
            for one, other in paired
        ]
    return Diff(before.name, after.name, tuple(pairs))


class _Side(NamedTuple):
    """What is compared, on one side."""

    name: str
    """Empty for the working folder."""
    found: Found
    environments: tuple[Referred, ...]

    def of(self, names: Container[str]) -> _Side:
        """Those of these names alone."""
        return self._replace(environments=tuple(each for each in self.environments if _own_name(each) in names))


def _own_name(referred: Referred) -> str:
    """The name of an environment without a revision."""
    return referred.environment.name if referred.environment else referred.name


def _sides(project: Project, references: Sequence[str], archs: Sequence[Arch]) -> tuple[_Side, _Side]:
    def side(text: str) -> _Side:
        found = find_all(project, text, archs)
        return _Side("" if text == "." else text, found, all_of(found, text, archs))

    def at(tree: Tree, name: str = "") -> _Side:
        found = whole(project_of_tree(project, tree), tree.revision)
        return _Side(name or tree.revision, found, all_of(found, archs=archs))

    if len(references) == 2:
        return side(references[0]), side(references[1])
    if not references:
        return at(tree_at(project, "HEAD")), side("")
    (text,) = references
    one, dots, other = text.partition("..")
    if dots and not text.startswith((".", "/", "~")) and "/.." not in text:
        three, other = other.startswith("."), other.removeprefix(".")
        first, second = (tree_at(project, each or "HEAD") for each in (one, other))
        return at(_merge_base(project, first, second), text) if three else at(first), at(second)
    before = side(text)
    if before.found.is_whole and before.found.revision:
        return before, side("")
    if before.found.choices and before.found.revision:
        return before, side(text.rpartition(":")[2])
    if before.found.choices:
        return side(f"HEAD:{text}"), before
    from envlock.workflow.errors import NothingToCompareWith

    raise NothingToCompareWith(reference=text)


def _merge_base(project: Project, one: Tree, other: Tree) -> Tree:
    from envlock.git_objects import NoSuchRevision, ShallowClone, merge_base, missing, objects_around

    objects = objects_around(project.folder)
    assert objects is not None
    text = f"{one.revision}...{other.revision}"
    found = merge_base(objects, one, other)
    if found is not None:
        return found
    why = missing(objects, text)
    if isinstance(why, ShallowClone):
        raise why
    raise NoSuchRevision(text, objects.top, []).adding("the two revisions have no commit in common")


def _selected(selection: Selection, projects: Sequence[Project]) -> set[str]:
    """The names of what is selected in either project. Raises NoSuchSelection for what neither has."""
    names: set[str] = set()
    unknown: list[NoSuchSelection] = []
    for flow in selection.flows or ("",):
        for step in selection.steps or ("",):
            if flow or step:
                alone = Selection(flows=(flow,) if flow else (), steps=(step,) if step else ())
                names |= _chosen(alone, projects, unknown)
    for environment in selection.environments:
        names |= _chosen(Selection(environments=(environment,)), projects, unknown)
    if unknown:
        raise unknown[0]
    return names


def _chosen(selection: Selection, projects: Sequence[Project], unknown: list[NoSuchSelection]) -> set[str]:
    """The names of one selection in either project; if neither has it, it is added to what is `unknown`."""
    names: set[str] = set()
    errors: list[NoSuchSelection] = []
    for project in projects:
        try:
            names.update(each.name for each in selection.choose(project))
        except NoSuchSelection as error:  # noqa: PERF203  each project for itself
            errors.append(error)
    unknown += errors[-1:] if len(errors) == len(projects) else []
    return names


def _paired(
    before: Sequence[Referred], after: Sequence[Referred]
) -> tuple[tuple[Referred | None, Referred | None], ...]:
    """What belongs together: by its name, or else, if it was renamed, by its locks. In the order of the second."""
    old = {_own_name(each): each for each in before}
    new = {_own_name(each): each for each in after}
    gone = [each for name, each in old.items() if name not in new and each.files]
    renamed: dict[str, Referred] = {}
    for name, each in new.items():
        alike = [one for one in gone if one.full_ids == each.full_ids]
        if name not in old and each.files and alike:
            gone.remove(alike[0])
            renamed[name] = alike[0]
    pairs: list[tuple[Referred | None, Referred | None]] = [
        (old.get(name) or renamed.get(name), each) for name, each in new.items()
    ]
    was = {_own_name(each) for each in renamed.values()}
    return (*pairs, *((each, None) for name, each in old.items() if name not in new and name not in was))


def difference(before: Referred | None, after: Referred | None, *, is_renamed: bool = False) -> EnvironmentDiff:
    """How one environment differs from another. Raises what reading a lock raises."""
    changes: list[ArchChanges] = []
    if before and after and before.full_ids != after.full_ids:
        named = asked_in(_document(before)) | asked_in(_document(after))
        for arch in before.archs:
            if arch in after.files:
                file = after.verified(arch)
                is_same = before.files[arch].full_id == after.files[arch].full_id
                try:
                    changes.append(compare_files(file if is_same else before.verified(arch), file, named))
                except (ValueError, KeyError, TypeError, AttributeError, IndexError):
                    changes.append(compare(before.rows(arch), after.rows(arch), named))  # says which file is damaged
    asked = _asked(before, after)
    names = [_own_name(each) for each in (before, after) if each]
    if before and after and names[0] != names[1] and not is_renamed:
        names = [before.name, after.name]
    return EnvironmentDiff(" -> ".join(dict.fromkeys(names)), before, after, tuple(changes), asked, is_renamed)


def _asked(before: Referred | None, after: Referred | None) -> tuple[Asked, ...]:
    """The requirements that differ."""
    ids = [each.req_id if each else "" for each in (before, after)]
    pins = [_pin(each) for each in (before, after)]
    if ids[0] == ids[1] and pins[0] == pins[1]:
        return ()
    paths = {url: path for each in (before, after) if each and each.environment for url, path in each.environment.local}
    documents = [_document(each) for each in (before, after)]
    if before is None or after is None:  # what every environment has tells nothing of one that came
        documents = [_of_packages(each) for each in documents] if before is None else [{}, {}]
        pins = pins if before is None else ["", ""]
    found = requirement_changes(documents[0], documents[1], paths)
    changes = [each for each in found if each.name != "named_env" or not any(pins)]
    if pins[0] != pins[1]:
        changes.insert(0, RequirementChange("named_env", pins[0], pins[1], "named_env"))
    return tuple(Asked(each, _places(each, after if each.after else before)) for each in changes)


def _document(referred: Referred | None) -> Mapping[str, Any]:
    if referred is None:
        return {}
    if referred.environment is not None:
        return referred.environment.requirements.document()
    return next((referred.rows(arch).requirements for arch in referred.archs), {})


def _of_packages(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a document that names packages, and the Python if it says which."""
    keys = ("pypi", "conda", "conda-only", *(("python",) if document.get("python") else ()))
    return {key: document[key] for key in keys if key in document}


def _pin(referred: Referred | None) -> str:
    """What the environment is based on, and which move of that is pinned; empty if it has no base."""
    base = referred.environment.base if referred and referred.environment else None
    if base is None:
        return ""
    move = f"@{base.pin.sequence}" if base.pin is not None and base.pin.sequence else ""
    return f"{base.reference or base.written}{move}"


def _places(change: RequirementChange, referred: Referred | None) -> tuple[Location, ...]:
    """The place of a requirement; none if no file has it."""
    if referred is None or referred.environment is None or referred.project is None:
        return ()
    environment, project = referred.environment, referred.project
    is_base = change.thing == "named_env" and environment.base is not None
    key = environment.base.key if is_base and environment.base else environment.origin(change.thing)
    if key is None and not change.thing and change.name in project.settings.written:
        key = ("envlock", change.name)
    if key is None:
        return ()
    place = project.place_of(key)
    return (place._replace(path=f"{referred.revision}:{place.path}") if referred.revision else place,)
