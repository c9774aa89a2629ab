"""What can be wrong with a requirement file. No error shows a credential."""

from __future__ import annotations

from envlock.errors import ConfigError, Location
from envlock.redaction import shown


class BadRequirementFile(ConfigError):
    """A requirement file that cannot be read, or says what envlock does not understand: the kind of all such errors.

    `is_read` is false where the file could not be read at all.
    """

    kind = "requirement file"
    named_as = "`requirements`"
    """The key of envlock.toml that names such files."""
    patterns: tuple[str, ...] = ()
    """What such a file has to be called outside of the project, where another file might hold a secret."""
    advice = "write it in envlock.toml"

    def __init__(self, reason: str, locations: tuple[Location, ...], *, is_read: bool = True, hint: str = "") -> None:
        if not is_read:
            hint = (
                f"{self.named_as} takes paths of text files, relative to the file, or the folder, where they are named"
            )
        super().__init__(reason, locations=locations, hint=hint or self.advice)


class BadRequirementsFile(BadRequirementFile):
    """A requirements.txt that cannot be read, or has a line that envlock does not support."""

    code = "bad-requirements-file"
    kind = "requirements file"
    patterns = ("*.txt", "*.in")
    advice = "write it as a requirement, or in envlock.toml"


class BadEnvironmentYml(BadRequirementFile):
    """An environment.yml that cannot be read, or says what envlock does not understand."""

    code = "bad-environment-yml"
    kind = "environment file"
    named_as = "`environment-yml`"
    patterns = ("environment*.yml", "environment*.yaml")


class BadPyproject(BadRequirementFile):
    """A pyproject.toml that cannot be read, or says what envlock does not understand."""

    code = "bad-pyproject"
    kind = "project file"
    named_as = "`pyproject`"
    patterns = ("pyproject.toml",)


class RequirementFileCycle(ConfigError):
    """A requirement file that includes itself, at once or by way of others."""

    code = "requirement-file-cycle"
    message = "`{name}` includes itself"
    hint = "remove {these}"

    def __init__(self, name: str, locations: tuple[Location, ...]) -> None:
        these = "this line" if len(locations) == 1 else "one of these lines"
        super().__init__(name=shown(name), locations=locations, these=these)
