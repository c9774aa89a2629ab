"""requirements.txt, as far as it says what is asked: names, versions, markers, indexes.

What would change the meaning silently (`-r`, `-c`, `-e`, `--hash`, ...) is refused with its line, never skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envlock.errors import ConfigError, Location
from envlock.model.requirement import PypiRequirement, parse_requirement


class BadRequirementsFile(ConfigError):
    """A line of a requirements file that envlock does not take."""

    code = "bad-requirements-file"

    def __init__(self, file: str, line: int | None, found: str, reason: str) -> None:
        super().__init__(
            f"{reason}: `{found}`" if found else reason,
            locations=(Location(file, line),),
            details=("taken: requirements (PEP 508), comments, --extra-index-url URL, --pre",),
            hint="write what it means as a requirement, or in envlock.toml",
        )


@dataclass(frozen=True)
class RequirementsFile:
    """What a requirements file asks."""

    packages: tuple[PypiRequirement, ...]
    indexes: tuple[str, ...]
    pip_flags: tuple[str, ...]


def read_requirements(path: Path, *, name: str) -> RequirementsFile:
    """What the file asks. `name` is how messages call it. Raises BadRequirementsFile."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadRequirementsFile(name, None, "", f"no readable requirements file ({error})") from None
    packages: list[PypiRequirement] = []
    indexes: list[str] = []
    flags: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split(" #")[0].strip()
        if not line or line.startswith("#"):
            continue
        option, _, value = line.replace("=", " ", 1).partition(" ") if line.startswith("--") else line.partition(" ")
        if option == "--extra-index-url" and value.strip():
            indexes.append(value.strip())
        elif option == "--pre":
            flags.append("pre")
        elif option.startswith("-"):
            raise BadRequirementsFile(name, number, line, "an option that envlock does not take from a file")
        else:
            packages.append(_requirement(name, number, line))
    return RequirementsFile(tuple(packages), tuple(indexes), tuple(flags))


def _requirement(file: str, number: int, line: str) -> PypiRequirement:
    try:
        return parse_requirement(line)
    except ConfigError as error:
        raise BadRequirementsFile(file, number, line, error.message) from None
