"""Locks in the formats of other tools: which formats there are, what each has a place for, and the text of one.

A writer gets what is `Given` and returns text: the same wherever it runs, without a clock, a credential or a path of
this machine. What its format has no place for is an error, or a note where nothing is lost of what is installed.
"""

from __future__ import annotations

import re
from functools import lru_cache

from envlock.lockfile.canonical_text import MARKERS, filename_of
from envlock.model.url import is_local
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from envlock.interchange.dockerfile import BuildContext
    from envlock.interchange.errors import FormatCannotHold
    from envlock.lockfile.rows import LockRows, PackageRow
    from envlock.model.arch import Arch


class Format(NamedTuple):
    """A format that locks are exported to."""

    module: str
    """Of `envlock.interchange`; its function `write` makes the text."""
    file: str
    """What such a file is called by its tool."""
    kinds: tuple[str, ...]
    """The kinds of packages that it has a place for."""
    sources: tuple[str, ...] = ()
    """What a wheel may have been built from: `sdist`, `git`, or `path` for what is in the project."""
    holds_archs: bool = False
    """Whether one file is for several archs."""
    needs_python: bool = False
    """Whether its tool installs nothing where no conda package is the Python."""
    reads_urls: bool = False
    """Whether its tool reads name, version, build and subdir of a conda package from its URL."""
    fills_variables: bool = False
    """Whether its tool fills in the `${VARIABLES}` of URLs, as envlock does."""
    is_image: bool = False
    """Whether it is for Linux alone, and needs a project to be built in."""
    is_sbom: bool = False
    """Whether it describes what is installed, and nothing is installed from it."""


_BOTH, _PYPI = ("conda", "pypi"), ("pypi",)
_SDIST, _ALL = ("sdist",), ("sdist", "git", "path")
FORMATS = {
    "conda-lock": Format(
        "conda_lock",
        "conda-lock.yml",
        _BOTH,
        _SDIST,
        holds_archs=True,
        needs_python=True,
        reads_urls=True,
        fills_variables=True,
    ),
    "pixi": Format("pixi", "pixi.lock", _BOTH, _SDIST, holds_archs=True, needs_python=True, reads_urls=True),
    "explicit": Format("explicit", "explicit.txt", ("conda",), reads_urls=True),
    "environment-yml": Format("environment_yml", "environment.yml", _BOTH, ("sdist", "git"), fills_variables=True),
    "requirements": Format(
        "requirements_txt", "requirements.txt", _PYPI, _SDIST, holds_archs=True, fills_variables=True
    ),
    "constraints": Format("requirements_txt", "constraints.txt", _PYPI, _ALL, holds_archs=True, fills_variables=True),
    "pylock": Format("pylock", "pylock.toml", _PYPI, _ALL, holds_archs=True),
    "dockerfile": Format("dockerfile", "Dockerfile", _BOTH, _ALL, holds_archs=True, is_image=True),
    "cyclonedx": Format("sbom", "bom.cdx.json", _BOTH, _ALL, is_sbom=True),
    "spdx": Format("sbom", "bom.spdx.json", _BOTH, _ALL, is_sbom=True),
}
"""By the names that `--format` takes."""
_PLAIN = re.compile(r"[A-Za-z_](?:[\w./+@()<>=,;~^%!$ -]|:(?=[\w/]))*(?<! )\Z", re.ASCII)
_WORDS_OF_YAML = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}


class Given(NamedTuple):
    """What is exported: an environment, with its lock for each arch."""

    format: str
    environment: str
    """Its name: `Train/start`, or that of an `[env.*]` table."""
    locks: tuple[LockRows, ...]
    only: str = ""
    """The kind of packages to export; empty for all."""
    licenses: Mapping[str, str] = {}
    """The licenses of wheels by their SHA-256, as far as they are known."""
    context: BuildContext | None = None
    """What the build of an image needs of the project."""

    @property
    def archs(self) -> tuple[Arch, ...]:
        """The archs of the locks."""
        return tuple(lock.arch for lock in self.locks)

    @property
    def name(self) -> str:
        """The environment's name as file formats take it.

        >>> Given("pixi", "Train/start", ()).name
        'train-start'
        """
        return re.sub(r"[^a-z0-9]+", "-", self.environment.lower()).strip("-") or "environment"

    def packages(self, lock: LockRows) -> tuple[PackageRow, ...]:
        """The packages of a lock that are exported, sorted by kind and name."""
        return tuple(each for each in lock.packages if self.only in {"", each.kind})

    def files(self, lock: LockRows) -> tuple[PackageRow, ...]:
        """The packages, as files that can be fetched: an sdist in the place of the wheel that was built from it."""
        return tuple(
            each._replace(url=each.source.url, filename=each.source.archive, sha256=each.source.content, size=None)
            if each.source is not None and each.source.kind == "sdist" and each.source.url
            else each
            for each in self.packages(lock)
        )

    def header(self) -> str:
        """Comments that say what the file was made from, and how it is made again."""
        name = "".join(each if each.isprintable() else "?" for each in self.environment)
        lines = [f"# {name} on {', '.join(self.archs)}, exported by `envlock export --format {self.format}`."]
        lines += [f"# {lock.arch}: CPython {lock.python.series}, {lock.identity}" for lock in self.locks]
        return "".join(f"{line}\n" for line in lines)

    def cannot(self, what: str, found: Sequence[str], hint: str) -> FormatCannotHold:
        """The error for something that the format has no place for."""
        from envlock.interchange.errors import FormatCannotHold

        return FormatCannotHold(self.format, what, self.environment, found, hint)

    def across_archs(self) -> Iterator[tuple[PackageRow, tuple[Arch, ...]]]:
        """Each of the files, with the archs that have it: sorted by name, then as the archs are."""
        found: dict[tuple[str, str, str, str], tuple[PackageRow, list[Arch]]] = {}
        for lock in self.locks:
            for each in self.files(lock):
                key = (each.name, each.version, each.filename, each.sha256)
                found.setdefault(key, (each, []))[1].append(lock.arch)
        for package, archs in sorted(found.values(), key=lambda row: (row[0].name, self.archs.index(row[1][0]))):
            yield package, tuple(archs)

    def marker(self, archs: Sequence[Arch]) -> str:
        """The marker that holds on some of the archs; empty for all of them."""
        return "" if len(archs) == len(self.locks) else " or ".join(MARKERS[arch] for arch in archs)


class Export(NamedTuple):
    """An environment in another tool's format."""

    text: str
    notes: tuple[str, ...] = ()
    """What a reader of the file should know, in a sentence each."""


def export(given: Given) -> Export:
    """The environment in the format. Raises FormatCannotHold."""
    chosen = FORMATS[given.format]
    if len(given.locks) > 1 and not chosen.holds_archs:
        raise given.cannot("several archs", given.archs, f"choose one: `--arch {given.archs[0]}`")
    for lock in given.locks:
        _check(given, chosen, lock)
    # `importlib` costs more than some writers take.
    write: Callable[[Given], Export] = __import__(f"envlock.interchange.{chosen.module}", fromlist=["write"]).write
    return write(given)


def _check(given: Given, chosen: Format, lock: LockRows) -> None:
    packages = given.packages(lock)
    foreign = [each.name for each in packages if each.kind not in chosen.kinds]
    if foreign:
        kept = chosen.kinds[0]
        word = "PyPI" if kept == "conda" else "conda"
        others = "`--format requirements` and `--format pylock`" if word == "PyPI" else "`--format explicit`"
        hint = (
            f"{others} hold{'' if word == 'PyPI' else 's'} them"
            if len(foreign) == len(packages)
            else f"give `--only {kept}` to leave them out, or `--format conda-lock`, which holds both kinds"
        )
        raise given.cannot(f"{word} packages", foreign, hint)
    unheld = [each.name for each in packages if each.source is not None and _source(each) not in chosen.sources]
    if unheld:
        hint = "`--format pylock` says what they are built from; or publish wheels of them in an index"
        raise given.cannot("packages that were built from what no index has", unheld, hint)
    if chosen.needs_python and not any(each.kind == "conda" and each.name == "python" for each in packages):
        found = "left out" if any(each.name == "python" for each in lock.conda_packages) else lock.python.source
        hint = "`--format pylock` and `--format requirements` hold PyPI packages for any Python"
        raise given.cannot("an environment whose Python is no conda package", [f"its Python is {found}"], hint)
    if chosen.is_sbom or chosen.is_image:
        return
    here = [each.name for each in packages if any(url and is_local(url) for url in _urls(each))]
    if here:
        raise given.cannot("packages that only this machine has", here, "put them into a channel or an index")
    renamed = [each.name for each in packages if each.conda is not None and not _is_in_channel(each)]
    if renamed and chosen.reads_urls:
        hint = "put them into a channel, and lock again"
        raise given.cannot("archives whose URL is not that of a channel", renamed, hint)
    unfilled = [each.name for each in packages if any("${" in url for url in _urls(each))]
    if unfilled and not chosen.fills_variables:
        hint = "`--format requirements` and `--format conda-lock` hold them: their tools fill variables in"
        raise given.cannot("URLs with variables", unfilled, hint)


def _source(package: PackageRow) -> str:
    """What a wheel was built from, as `Format.sources` has it."""
    assert package.source is not None
    return "path" if package.source.path else package.source.kind


def _is_in_channel(package: PackageRow) -> bool:
    """Whether the URL of a conda package ends in its subdir and its file name, as in a channel."""
    assert package.conda is not None
    folder = package.url.rpartition("/")[0].rpartition("/")[2]
    return folder == package.conda.subdir and filename_of(package.url) == package.filename


def _urls(package: PackageRow) -> Iterator[str]:
    """The URLs that a format may name for a package."""
    yield package.url
    if package.conda is not None:
        yield package.conda.channel
    if package.source is not None:
        yield package.source.url


def requirement(package: PackageRow) -> str:
    """A PyPI package as pip's requirement of exactly that version; one that is in no index is named by its URL."""
    source, url = package.source, package.url
    if source is not None:
        url = f"git+{source.url}@{source.commit}" if source.kind == "git" else source.url
        url += f"#subdirectory={source.subdirectory}" if url and source.subdirectory else ""
    return f"{package.name} @ {url}" if url and not package.from_index else f"{package.name}=={package.version}"


def python_notes(given: Given) -> tuple[str, ...]:
    """That the format does not bring the Python, where it is one exact build."""
    exact = dict.fromkeys(lock.python.version for lock in given.locks if lock.python.source == "uv")
    return tuple(f"the file does not say which build of Python: it was locked for CPython {each}" for each in exact)


def build_notes(given: Given) -> tuple[str, ...]:
    """Notes: the packages that are built again when the file is installed."""
    built = {each.name for lock in given.locks for each in given.packages(lock) if each.source and each.source.requires}
    if not built:
        return ()
    return (f"built again when the file is installed: {', '.join(sorted(built))}",)


def override_notes(given: Given) -> tuple[str, ...]:
    """That pip would refuse the packages, where overrides stand in place of what some of them require."""
    found = sorted({text for lock in given.locks for text in lock.requirements.get("overrides", ())})
    if not found:
        return ()
    reason = f"pip finds that packages contradict each other, because of overrides ({', '.join(found)})"
    return (f"{reason}: install with `pip install --no-deps`, or `uv pip sync`",)


def channels_of(given: Given) -> dict[str, str]:
    """The channels that the packages are from, by URL and in the order of the requirements, as envlock.toml names each.

    A channel that no package is from is left out.
    """
    urls = dict.fromkeys(
        each.conda.channel for lock in given.locks for each in given.packages(lock) if each.conda is not None
    )
    named = [name for lock in given.locks for name in lock.requirements.get("channels", ())]
    found: dict[str, str] = {}
    for name in named:
        found.update({url: name for url in urls if url not in found and (url == name or url.endswith(f"/{name}"))})
    return {**found, **{url: url for url in urls if url not in found}}


@lru_cache(maxsize=4096)
def scalar(text: str) -> str:
    """A text as a YAML scalar that every reader takes for that text.

    >>> print(scalar("numpy >=1.26"), scalar("1.10"), scalar("no"), scalar("a: b"), scalar("https://x/a:b"))
    numpy >=1.26 "1.10" "no" "a: b" https://x/a:b
    """
    if _PLAIN.match(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    if text.isascii() and text.isprintable() and "\\" not in text:
        return '"' + text.replace('"', '\\"') + '"'
    import json

    return re.sub(r"[\x7f-\x9f\u2028\u2029\ufeff-\uffff]", _escaped, json.dumps(text, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
