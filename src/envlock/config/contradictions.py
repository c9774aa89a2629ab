"""Errors of keys that are right by themselves, and contradict each other, the flow or the project.

`tables`, `inherit` and `read` raise a Conflict, which has keys and no lines; only the error made of it has lines.
"""

from __future__ import annotations

from envlock.config.errors import ALIKE, all_of
from envlock.errors import ConfigError, Location
from envlock.model.python_range import OLDEST
from envlock.redaction import shown
from envlock.words import did_you_mean, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Contradiction(ConfigError):
    """Keys that are right by themselves, and not beside each other or for this flow.

    `values` are what is written there, `places` where that is.
    """

    def __init__(
        self,
        values: Sequence[str],
        places: Sequence[Location],
        *,
        details: tuple[str, ...] | None = None,
        hint: str | None = None,
        **facts: str,
    ) -> None:
        facts["found"] = shown(values[0]) if values else ""
        facts["both"] = listed(f"`{shown(value)}`" for value in values) if values else ""
        super().__init__(locations=tuple(places), details=details, hint=hint, **facts)


class SettingEntersIds(ConfigError):
    """A settings file of a machine or a user has a setting that decides what is locked."""

    code = "setting-enters-ids"
    message = "`{key}` is a setting of the repository: no machine or user may have its own"
    details = ("it decides what is locked, and every machine has to lock the same",)
    hint = "put it into envlock.toml, or into the team file that it extends"

    def __init__(self, key: str, at: Location) -> None:
        super().__init__(key=shown(key), locations=(at,))


class BadTeamFile(ConfigError):
    """A team file does not exist, or is not a file of the repository."""

    code = "bad-team-file"
    message = "cannot extend `{path}`: {reason}"
    hint = "name a file of this repository, relative to the file that extends it"

    def __init__(self, path: str, reason: str, at: Location) -> None:
        super().__init__(path=shown(path), reason=reason, locations=(at,))


class ExtendsCycle(Contradiction):
    """Team files whose `extends` leads back to themselves."""

    code = "extends-cycle"
    message = "`extends` leads in a circle: {circle}"
    hint = "remove one of these `extends` keys"

    def __init__(self, values: Sequence[str], places: Sequence[Location]) -> None:
        """`values` are the names of the files, each of which extends the next, and the last the first."""
        super().__init__(values, places, circle=" -> ".join(f"`{shown(name)}`" for name in (*values, values[0])))


class FlowWithoutFile(Contradiction):
    """A flow without a `file`, so that its steps are not known."""

    code = "flow-without-file"
    message = "the flow `{found}` has no `file`"
    hint = 'add `file = "..."` to `[flow.{found}]`'


class UnknownFlow(Contradiction):
    """A flow that its file does not define."""

    code = "unknown-flow"
    message = "its file defines no flow `{found}`"

    def __init__(self, values: Sequence[str], places: Sequence[Location]) -> None:
        """`values` are the flow's name, then the names of those in the file."""
        found, *flows = values
        hint = did_you_mean(found, flows, ALIKE) or "name the table after the flow's class"
        super().__init__(values, places, details=all_of("flows in the file", flows), hint=hint)


class UnknownStep(Contradiction):
    """A step that its flow does not have."""

    code = "unknown-step"
    message = "the flow `{flow}` has no step `{found}`"

    def __init__(self, values: Sequence[str], places: Sequence[Location]) -> None:
        """`values` are the step's name, the flow's, then the flow's steps."""
        found, flow, *steps = values
        hint = did_you_mean(found, steps, ALIKE) or "name the table after one of the steps"
        super().__init__(values, places, details=all_of("steps", steps), hint=hint, flow=shown(flow))


class UnknownIndex(Contradiction):
    """A package with an `index` that `[envlock.indexes]` does not have."""

    code = "unknown-index"
    message = "`[envlock.indexes]` has no index `{found}`"
    hint = 'add `indexes.{found} = "https://..."` to `[envlock]`, or write the URL'

    def __init__(self, values: Sequence[str], places: Sequence[Location]) -> None:
        """`values` are the index's name, then those that there are."""
        found, *names = values
        super().__init__(values, places, details=all_of("indexes", names), hint=did_you_mean(found, names, ALIKE))


class UnknownEnv(Contradiction):
    """An `env` that names a table which envlock.toml does not have."""

    code = "unknown-env"
    message = "there is no `[env.{found}]`"

    def __init__(self, values: Sequence[str], places: Sequence[Location]) -> None:
        """`values` are the name, then the names of the tables that there are."""
        found, *names = values
        hint = did_you_mean(found, names, ALIKE) or "name one of the `[env.*]` tables of this file, or add it"
        super().__init__(values, places, details=all_of("environments", names), hint=hint)


class EnvCycle(Contradiction):
    """`[env.*]` tables whose `env` leads back to themselves."""

    code = "env-cycle"
    message = "`env` leads in a circle: {circle}"
    hint = "remove one of these `env` keys"

    def __init__(self, values: Sequence[str], places: Sequence[Location]) -> None:
        """`values` are the names of the tables, each of which names the next, and the last the first."""
        super().__init__(values, places, circle=" -> ".join(f"`{shown(name)}`" for name in (*values, values[0])))


class DisagreeingValues(Contradiction):
    """Two places at one level give one thing different values."""

    code = "disagreeing-values"
    message = "conflicting values: {both}"
    hint = "keep one of them"


class PythonTooOld(Contradiction):
    """A `python` that allows nothing but Pythons that are too old for wheels to be locked."""

    code = "python-too-old"
    message = "Python `{found}` cannot be locked"
    details = ("envlock can lock Python {oldest} or later",)
    hint = "use Python {oldest} or later"

    def __init__(self, values: Sequence[str], places: Sequence[Location]) -> None:
        super().__init__(values, places, oldest="{}.{}".format(*OLDEST))


class NameAndPathspec(Contradiction):
    """A named environment with both a `name` and a `pathspec`."""

    code = "name-and-pathspec"
    message = "`named_env` takes a `name` or a `pathspec`, not both"
    hint = "remove one of the two"


class EmptyNamedEnv(Contradiction):
    """A `named_env` names no environment."""

    code = "empty-named-env"
    message = "`named_env` is empty"
    hint = 'write it as `named_env = {{ name = "team/base:v1" }}`, or remove it'


class DisabledWithRequirements(Contradiction):
    """A flow, step or table that is disabled and has requirements."""

    code = "disabled-with-requirements"
    message = "this is disabled, but has requirements"
    hint = "remove `disabled = true`, or the requirements"


class FetchAtExecWithoutName(Contradiction):
    """`fetch_at_exec` without an environment to look up."""

    code = "fetch-at-exec-without-name"
    message = "`fetch_at_exec` needs a `name` or a `pathspec`"
    hint = 'write it as `named_env = {{ name = "team/base:v1", fetch_at_exec = true }}`'


class FetchAtExecWithRequirements(Contradiction):
    """An environment that is looked up when the step starts, and has requirements that would have to be locked."""

    code = "fetch-at-exec-with-requirements"
    message = "an environment with `fetch_at_exec` cannot have requirements of its own"
    hint = "remove `fetch_at_exec`, or the requirements (here, or in the flow)"


class NamedEnvWithRequirementsAtFlowLevel(Contradiction):
    """A flow with both a named environment and packages: which steps extend the environment is not clear."""

    code = "named-env-with-requirements-at-flow-level"
    message = "a flow takes `named_env` or packages, not both"
    hint = "move the packages to the steps that need them: a step may extend a named environment"


class NamedLikeAStep(Contradiction):
    """An `[env.*]` table with the name of a step's environment."""

    code = "named-like-a-step"
    message = "`{found}` is the name of a step's environment"
    hint = 'rename `[env."{found}"]`'


class NamedEnvDisabled(Contradiction):
    """An `[env.*]` table that is disabled."""

    code = "named-env-disabled"
    message = "an `[env.*]` table cannot be disabled"
    hint = "remove `disabled`, or the whole table"


def from_conflict(rule: str, values: tuple[str, ...], locations: tuple[Location, ...]) -> ConfigError:
    """The error of a broken rule: its code, what is written there, and where.

    >>> from_conflict("unknown-step", ("strat", "Train", "start", "end"), (Location("envlock.toml", 4),)).hint
    'did you mean `start`?'
    """
    at = tuple(Location(each.path, each.line, each.key and shown(each.key, 200)) for each in locations)
    return next(each for each in Contradiction.__subclasses__() if each.code == rule)(values, at)
