"""`check --online`: whether names still stand for what they are pinned to, by the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from envlock.config.named import IDENTITY
from envlock.config.pins import pin_path
from envlock.config.selection import Selection
from envlock.errors import Location
from envlock.lockfile.drift import Finding, Verdict
from envlock.model.alias import Alias, parse_alias
from envlock.workflow.finding import Finder

if TYPE_CHECKING:
    from envlock.config.project import Environment, Project
    from envlock.model.alias_record import AliasRecord
    from envlock.model.pin import Pin


def with_cache(project: Project, verdict: Verdict, selection: Selection | None = None) -> Verdict:
    """The verdict, with what the cache says of the pinned names: once for each, whoever names it.

    What is pinned by its ids or a pathspec cannot move. Raises CacheUnusable, and what is wrong with a name's history.
    """
    named: dict[Pin, list[Environment]] = {}
    for environment in (selection or Selection()).choose(project):
        pin = environment.base.pin if environment.base is not None else None
        if pin is not None and pin.kind == "name" and not IDENTITY.match(pin.meant):
            named.setdefault(pin, []).append(environment)
    if not named:
        return verdict
    finder = Finder(project)
    found = [each for pin, asking in named.items() for each in _findings(project, finder, pin, asking)]
    return verdict._replace(findings=(*verdict.findings, *found))


def _findings(project: Project, finder: Finder, pin: Pin, asking: Sequence[Environment]) -> Iterator[Finding]:
    alias = parse_alias(pin.meant)
    head = finder.aliases.head(alias)
    wrong = disagreement(finder, pin, alias, head)
    if wrong:
        path = pin_path(project.lock_folder, pin.kind, pin.meant).relative_to(project.folder)
        yield Finding(
            environment=", ".join(each.name for each in asking),
            arch="",
            verdict="pin-disagrees",
            reasons=(f"`{alias}` is pinned to {pin.req_id}, move {pin.sequence}", wrong),
            location=Location(path.as_posix()),
            repair=f"`git log -- {path.as_posix()}` and `envlock alias log {alias}` tell which of the two was changed",
        )
    elif head is not None and (head.req_id, head.full_ids) != (pin.req_id, pin.full_ids):
        why = f": {head.why}" if head.why else ""
        news = f"{head.who} made move {head.sequence} at {head.when}{why}"
        yield Finding(
            environment=", ".join(each.name for each in asking),
            arch="",
            verdict="alias-moved",
            reasons=(f"`{alias}` is pinned to move {pin.sequence}, and {news}",),
            location=project.locate(asking[0].base.key) if asking[0].base else None,
            repair=f"envlock lock --upgrade-alias {alias}, where you want what it stands for now",
        )


def disagreement(finder: Finder, pin: Pin, alias: Alias, head: AliasRecord | None) -> str:
    """What the cache says otherwise of the move that a name is pinned to; empty where it says the same."""
    if head is None:
        return "the cache has no such name"
    if head.sequence < pin.sequence:
        return f"the cache has {head.sequence} of its moves"
    record = head if head.sequence == pin.sequence else finder.aliases.at(alias, pin.sequence)
    if record is not None and record.digest == pin.record:
        return ""
    return f"move {pin.sequence} in the cache is another record" + (f", of {record.req_id}" if record else "")
