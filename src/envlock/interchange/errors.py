"""Why a lock of another tool cannot be imported, and what keeps a lock from being exported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envlock.errors import ConfigError, DamageError, Location, ResolveError
from envlock.words import did_you_mean, first_of

_FORMATS = (
    "conda-lock.yml, pixi.lock, uv.lock, poetry.lock, pdm.lock, pylock.toml (PEP 751), `@EXPLICIT`, requirements.txt "
    "with hashes, Metaflow's conda.manifest and conda_v2.cnd"
)
_SHOWN = 10
"""Packages that are named one by one."""
_NAMED = 6


class UnreadableImport(ConfigError):
    """The file to import is not there, or cannot be read."""

    code = "unreadable-import"
    message = "cannot read `{file}`: {reason}"
    hint = "give the path of the lock of another tool"

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(file=file, reason=reason, locations=(Location(file),))


class UnknownLockFormat(ConfigError):
    """A file is in no format that can be imported."""

    code = "unknown-lock-format"
    message = "`{file}` is not a lock that envlock can import"
    hint = "requirements without hashes are resolved: name the file in envlock.toml, and run `envlock lock`"

    def __init__(self, file: str, reason: str = "") -> None:
        details = (*([reason] if reason else []), f"formats: {_FORMATS}")
        super().__init__(file=file, locations=(Location(file),), details=details)


class UnknownLockVersion(ConfigError):
    """A lock has a version of its format that this envlock cannot read."""

    code = "unknown-lock-version"
    message = "`{file}` has version {version} of the format of {format}"
    details = ("this envlock reads version {known}",)
    hint = "write it again with a version of {format} that has one of these formats, or upgrade envlock"

    def __init__(self, file: str, format: str, version: object, known: str) -> None:  # noqa: A002
        super().__init__(file=file, format=format, version=version, known=known, locations=(Location(file),))


class ConflictMarkersInImport(ConfigError):
    """A merge left both sides in a lock that is to be imported."""

    code = "conflict-markers-in-import"
    message = "`{file}` has conflict markers of a merge"
    hint = "resolve the merge with the tool that wrote the file, then import it"

    def __init__(self, file: str, line: int) -> None:
        super().__init__(file=file, locations=(Location(file, line),))


class BrokenImport(ConfigError):
    """A lock that is to be imported cannot be read, or a part of it is missing."""

    code = "broken-import"
    message = "`{file}` cannot be read as a lock of {format}: {reason}"
    hint = "write it again with {format}"

    def __init__(self, file: str, format: str, reason: str, *, line: int | None = None) -> None:  # noqa: A002
        super().__init__(file=file, format=format, reason=reason, locations=(Location(file, line),))


class UnfitPackage(ConfigError):
    """A package of a lock that is to be imported has a value that no lock may hold."""

    code = "unfit-package-in-import"
    message = "`{file}`: {package} has a value that no lock may hold"
    details = ("{reason}",)
    hint = "check where the file is from: such a value could lead an installer astray"

    def __init__(self, file: str, package: str, reason: str) -> None:
        super().__init__(file=file, package=package, reason=reason, locations=(Location(file),))


class UnknownImportChoice(ConfigError):
    """An extra, a group, a package or an environment was chosen that the lock does not have."""

    code = "unknown-import-choice"
    message = "`{file}` has no {what} `{name}`"

    def __init__(self, file: str, what: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        details = (f"it has: {', '.join(known)}",) if known else ("it has none",)
        super().__init__(
            file=file,
            what=what,
            name=name,
            locations=(Location(file),),
            details=details,
            hint=did_you_mean(name, known),
        )


class ImportUnclear(ConfigError):
    """A lock has several environments, or projects, and none was chosen."""

    code = "import-unclear"
    message = "`{file}` has several {what}"
    details = ("{names}",)
    hint = "choose one with `{option}`"

    def __init__(self, file: str, what: str, names: Sequence[str], option: str) -> None:
        super().__init__(file=file, what=what, names=", ".join(names), option=option, locations=(Location(file),))


class ImportLacksArch(ConfigError):
    """A lock does not have all packages of an arch that is wanted."""

    code = "import-lacks-arch"
    message = "`{file}` cannot be imported for {archs}"
    details = ("{reason}",)
    hint = "give the archs that it has with `--arch`, and in `archs` of envlock.toml"

    def __init__(self, file: str, archs: Sequence[str], reason: str) -> None:
        super().__init__(file=file, archs=", ".join(archs), reason=reason, locations=(Location(file),))


class ImportWithoutPython(ConfigError):
    """A lock of conda packages has no Python."""

    code = "import-without-python"
    message = "`{file}` has no package `python` for {arch}"
    details = ("an environment of a step has a Python",)
    hint = "add `python` to what the file is made of, and write it again"

    def __init__(self, file: str, arch: str) -> None:
        super().__init__(file=file, arch=arch, locations=(Location(file),))


class ImportNeedsBuild(ResolveError):
    """A lock has packages without a wheel, which would have to be built."""

    code = "import-needs-build"
    message = "`{file}` has packages that would have to be built: {names}"
    details = ("an sdist of an index is built only where envlock.toml allows it",)
    hint = "write `build = [...]` with these names in [envlock] of envlock.toml, or put a wheel of each on an index"

    def __init__(self, file: str, names: Iterable[str]) -> None:
        super().__init__(file=file, names=", ".join(sorted(names)), locations=(Location(file),))


class ImportHashMismatch(DamageError):
    """A file does not have the hash that the imported lock has for it."""

    code = "import-hash-mismatch"
    message = "{package} does not have the hash that `{file}` has for it"
    details = ("{file}: {expected}", "{place}: {found}")
    hint = "do not use it before you know which of the two is right; nothing was written"

    def __init__(self, file: str, package: str, expected: str, place: str, found: str) -> None:
        super().__init__(
            file=file, package=package, expected=expected, place=place, found=found, locations=(Location(file),)
        )


class ImportIncomplete(ResolveError):
    """What a lock does not say of its packages could not be found out."""

    code = "import-incomplete"
    message = "`{file}` does not say all of {count}, and it could not be found out"

    def __init__(self, file: str, failures: Sequence[str], *, packages: int = 0, offline: bool = False) -> None:
        """`packages` is how many there are, if a failure is not one of them."""
        packages = packages or len(failures)
        count = "1 package" if packages == 1 else f"{packages} packages"
        more = (f"and {len(failures) - _SHOWN} more",) if len(failures) > _SHOWN else ()
        hint = "run it without `--offline`" if offline else "check that the channel, or the index, still has them"
        super().__init__(
            file=file, count=count, locations=(Location(file),), details=(*failures[:_SHOWN], *more), hint=hint
        )


class FormatCannotHold(ConfigError):
    """A lock has something that the format has no place for, and nothing is left out silently."""

    code = "format-cannot-hold"
    message = "the format `{format}` cannot hold {what}"
    details = ("of {environment}: {found}",)

    def __init__(self, format: str, what: str, environment: str, found: Sequence[str], hint: str) -> None:  # noqa: A002
        """`what` says what kind of thing it is, `found` which ones there are."""
        super().__init__(format=format, what=what, environment=environment, found=first_of(found, _NAMED), hint=hint)
