"""The dependencies of a pyproject.toml that it calls dynamic, and that a file beside it lists.

setuptools has a table for such files, and so has the plugin hatch-requirements-txt. Each line of one is a requirement
or a comment: neither tool takes the options of pip.
"""

from __future__ import annotations

from envlock.config.requirement_files.errors import BadRequirementsFile
from envlock.config.requirement_files.pip_requirement import logical_lines
from envlock.errors import ConfigError
from envlock.model.requirement import normalized, parse_requirement
from envlock.redaction import without_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from envlock.config.requirement_files.contents import RequirementFile
    from envlock.config.requirement_files.pyproject_toml import Entry, ProjectFile
    from envlock.config.toml_scan import Key

_OF_SETUPTOOLS: Key = ("tool", "setuptools", "dynamic")
_OF_HATCH: Key = ("tool", "hatch", "metadata", "hooks", "requirements_txt")
_HINTS = {
    "setuptools": "name the file: `dependencies = { file = [...] }` in `[tool.setuptools.dynamic]`",
    "hatch": "list them in `[project]`, or in a file that `requirements` names: the hook that makes them is not run",
    "": "list them in `[project]`, or in a file that `requirements` names",
}


class Dynamic:
    """The dynamic dependencies of one pyproject.toml."""

    def __init__(self, project: ProjectFile) -> None:
        self.project = project
        dynamic = [text for text, _ in project.texts("project", "dynamic")] if project.get("project") else []
        self.keys = {each for each in dynamic if each not in project.table("project")}
        """The keys of `[project]` that something else has to say."""
        self.files: list[Path] = []
        """The files that were read."""

    def main(self) -> list[Entry]:
        """The dependencies that all have. Raises BadPyproject unless files list them; BadRequirementsFile."""
        places = ((*_OF_SETUPTOOLS, "dependencies", "file"), (*_OF_HATCH, "files"))
        return self._of("dependencies", [place for place in places if self._is_there(place)])

    def extras(self) -> dict[str, list[Key]]:
        """The extras, each with the keys that name its files."""
        found: dict[str, list[Key]] = {}
        for name in self.project.table(*_OF_SETUPTOOLS, "optional-dependencies"):
            found.setdefault(name, []).append((*_OF_SETUPTOOLS, "optional-dependencies", name, "file"))
        for name in self.project.table(*_OF_HATCH, "optional-dependencies"):
            found.setdefault(name, []).append((*_OF_HATCH, "optional-dependencies", name))
        return found

    def of_extra(self, wanted: str, path: Key | None) -> list[Entry]:
        """The requirements of an extra, which envlock.toml names, or the key `path`. Raises as `main`."""
        extras = self.extras()
        if not extras:
            return self._of("optional-dependencies", [])
        name = self.project.name_in(extras, wanted, "extra", path)
        entries = self._of("optional-dependencies", extras[name])
        return [entry._replace(extra=normalized(name)) for entry in entries]

    def _is_there(self, place: Key) -> bool:
        table = self.project.table(*place[:-1])
        return place[-1] in table

    def _of(self, key: str, places: list[Key]) -> list[Entry]:
        if not places:
            backend = str(self.project.get("build-system", "build-backend"))
            hint = next(hint for tool, hint in _HINTS.items() if tool in backend)
            reason = f"its {key} are dynamic: its backend makes them when it builds"
            raise self.project.fault(reason, ("project", "dynamic"), hint=hint)
        return [entry for place in places for entry in self._of_files(place)]

    def _of_files(self, place: Key) -> list[Entry]:
        written = self.project.get(*place)
        files = [(written, place)] if isinstance(written, str) else self.project.texts(*place)
        found: list[Entry] = []
        for name, path in files:
            file = self.project.file.include(name, self.project.line(path).line, BadRequirementsFile)
            self.files.append(file.path)
            found += _entries(file, path)
        return found


def _entries(file: RequirementFile, path: Key) -> list[Entry]:
    from envlock.config.requirement_files.pyproject_toml import Entry

    found: list[Entry] = []
    for line in logical_lines((text, number) for number, text in enumerate(file.text.splitlines(), start=1)):
        if line.text.startswith("-"):
            hint = f"name {file.name} in `requirements` of envlock.toml, which takes options"
            raise file.fault("a file of dynamic dependencies has no options", line.number, line=line.text, hint=hint)
        try:
            requirement = parse_requirement(line.text)
        except ConfigError as error:
            reason = without_credentials(error.message) if file.is_quoted else "this line is not a requirement"
            raise file.fault(reason, line.number, hint=error.hint or "") from None
        found.append(Entry(requirement, path, at=file.line(line.number)))
    return found
