"""Why an environment cannot be entered: its path cannot be used, or an activation script of a package fails."""

from __future__ import annotations

from pathlib import Path

from envlock.errors import HydrateError, Location
from envlock.files import RECORD_BYTES, json_of, read_file


class UnfitPrefix(HydrateError):
    """The environment's path contains a character that breaks `PATH`, or the scripts of its packages."""

    code = "unfit-prefix"

    def __init__(self, path: str, characters: str) -> None:
        shown = (each if each.isprintable() else repr(each)[1:-1] for each in characters)
        super().__init__(
            f"the environment's path contains {' and '.join(f'`{each}`' for each in shown)}",
            locations=(Location(path),),
            details=(
                "PATH separates folders with `:`, so the environment's programs would not be found"
                if ":" in characters
                else "packages write the path into their scripts and programs, and this would break them",
            ),
            hint="export ENVLOCK_HOME=/short",
        )


class ActivationFailed(HydrateError):
    """What a package does when its environment is entered went wrong."""

    code = "activation-failed"

    def __init__(self, prefix: str, path: str, reason: str) -> None:
        self.path = path
        relative = str(Path(path).relative_to(prefix))
        package = owner_of(Path(prefix), relative)
        of_package = f" of {package}" if package else ""
        super().__init__(
            f"the environment cannot be entered: {relative}{of_package} failed, {reason}",
            locations=(Location(path),),
            hint="`envlock verify` tells whether the file is as it was installed; if it is, ask for another version of "
            f"{package.partition(' ')[0] or 'the package that brings it'} in envlock.toml, then `envlock lock`",
        )


def owner_of(prefix: Path, relative: str) -> str:
    """The conda package that brought a file, as `name version`; empty where none says so."""
    for record in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            found = json_of(read_file(record, RECORD_BYTES))
            if relative in found.get("files", ()):
                return f"{found['name']} {found['version']}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # noqa: PERF203  another one may say it
            continue
    return ""
