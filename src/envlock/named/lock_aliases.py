"""Names that are given when an environment is locked: those that envlock.toml says, and those of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from envlock.errors import EnvlockError
from envlock.workflow.needed_locks import locks_of

if TYPE_CHECKING:
    from envlock.config.project import Environment, KeyPath, Project
    from envlock.config.selection import Selection
    from envlock.named.alias import Alias
    from envlock.named.give import GiveResult
    from envlock.reporter import Reporter
    from envlock.workflow.lock_result import LockResult, Upgrade


class LockAliases:
    """The names that one `lock` gives. Asks the cache only where there is a name to give.

    What envlock.toml says is given when the environment was locked anew, for all archs; what the command line says, in
    any case.
    """

    def __init__(self, project: Project, selection: Selection, names: Sequence[str] = ()) -> None:
        """`names` are the command line's.

        Raises NoSuchSelection, SeveralEnvironments, NoEnvironments, BadAliasName, UnsetNameVariable.
        """
        environments = selection.choose(project)
        self._config = project.path
        self._listed = [(each.name, [name for name, _ in each.aliases]) for each in environments if each.aliases]
        self._said: list[tuple[str, Alias]] = []
        self._asked: list[tuple[str, Alias]] = []
        if names:
            from envlock.named.lookup import alias_of
            from envlock.workflow.choice import NoEnvironments, SeveralEnvironments

            if len({each.requirements.req_id for each in environments}) > 1:
                raise SeveralEnvironments([each.name for each in environments], environments[0].key)
            if not environments:
                raise NoEnvironments(project.path.name)
            self._asked = [(environments[0].name, alias_of(name)) for name in names]
        if not selection.archs and any(each.aliases for each in environments):
            self._said = [
                (each.name, _named_at(project, name, key)) for each in environments for name, key in each.aliases
            ]

    def refuse_taken(self, project: Project, upgrade: Upgrade) -> None:
        """Raise AliasTaken for a tag that never moves and stands for another environment, before anything is locked."""
        wanted = [(environment, alias) for environment, alias in self._wanted(project) if not alias.moves]
        new = [each for each in wanted if not (upgrade.is_nothing and _is_locked(project, each[0]))]
        if new:
            from envlock.named.lookup import Lookup

            lookup = Lookup(project)
            for environment, alias in new:
                lookup.aliases.refuse_taken(alias, environment.requirements.req_id)

    def left(self, result: LockResult) -> Iterator[str]:
        """A line for each environment with names in envlock.toml that were not given, since it is not locked anew.

        Whether they were given before is not looked up: that would ask the cache each time.
        """
        given = {name for name, _ in self._given(result)}
        for environment, names in self._listed:
            if environment not in given:
                yield (
                    f"note: {environment} was not locked anew for all archs, so its aliases stay as they are; "
                    f"to give one: envlock alias {names[0]} --env {environment}"
                )

    def _given(self, result: LockResult) -> list[tuple[str, Alias]]:
        changed = {name for each in result.locked if each.action != "kept" for name in each.environments}
        return [*self._asked, *((name, alias) for name, alias in self._said if name in changed)]

    def give(self, result: LockResult, reporter: Reporter) -> tuple[GiveResult, ...]:
        """Give the names, now that the environments are locked. Raises as `workflow.alias.give`."""
        wanted = self._given(result)
        if not wanted:
            return ()
        from envlock.config.read import load_project
        from envlock.named.give import give
        from envlock.named.lookup import Lookup

        project = load_project(self._config)
        lookup = Lookup(project)
        environments = {each.name: each for each in project.environments()}
        return tuple(
            give(lookup, alias, lookup.environment(environments[name]), reporter=reporter)
            for name, alias in dict.fromkeys(wanted)
        )

    def _wanted(self, project: Project) -> Iterator[tuple[Environment, Alias]]:
        environments = {each.name: each for each in project.environments()}
        for name, alias in dict.fromkeys([*self._asked, *self._said]):
            environment = environments[name]
            # What a name stands for that has no pin yet is not known before it is looked up.
            if environment.base is None or environment.base.pin is not None:
                yield environment, alias


def _named_at(project: Project, text: str, key: KeyPath) -> Alias:
    """What a text of envlock.toml names; where it is none, the error says which line it is in."""
    from envlock.named.lookup import alias_of

    try:
        return alias_of(text)
    except EnvlockError as error:
        error.locations += (project.locate(key),)
        raise


def _is_locked(project: Project, environment: Environment) -> bool:
    return all(locks_of(project, environment, arch) for arch in project.settings.archs)
