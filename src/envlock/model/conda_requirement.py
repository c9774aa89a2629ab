"""One requirement of a conda package: its name, and the channel, version and build that are allowed.

Read and written without any library, because `check` needs it: the solver has its own, thorough reader, and
reports what this one lets pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64, Arch
from envlock.model.requirement import PypiRequirement, contradict
from envlock.values import NamedTuple

_NAME = r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?"
_CHANNEL = r"[A-Za-z0-9._~:/@%${}-]+"
_VERSION = r"[0-9A-Za-z.!+_*<>=~|,()-]+"
_BUILD = r"[0-9A-Za-z._+*^$()|\[\]-]+"
_OPERATOR = r"[<>=!~]"
_UNFINISHED = r"[<>=!~,|](?=[,|]|\Z)|\A=*[,|]"
"""A clause without its version, or no clause where one should be."""
_NO_COMMA = r"(?<=[\w.*+])(?=[<>~]|[!=]=)"
"""Where a second clause follows the first at once: conda would take it for a build."""
_SYSTEMS: dict[str, tuple[Arch, ...]] = {
    "linux": (LINUX_64, LINUX_AARCH64),
    "osx": (OSX_64, OSX_ARM64),
    **{arch: (arch,) for arch in ARCHS},
}
"""What may stand after the `;` of a requirement."""
_SPACES = r"\s*([,|<>=!~]+)\s*"


class BadCondaRequirement(ValueError):
    """No channel can have what the text requires; `reason` says why."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"`{text}`: {reason}")
        self.text = text
        self.reason = reason


class CondaRequirement(NamedTuple):
    """A requirement of a conda package, as conda's match specification means it.

    `str` gives the canonical text `[channel::]name[ version[ build]][ ; archs]`, which is hashed into req_id.
    """

    name: str
    version: str = ""
    """Conda's version language: `==1.4`, `=1.4` (any 1.4), `>=1,<2`, `1.4.*`; empty for any."""
    build: str = ""
    """A build string, in which `*` matches anything; empty for any."""
    channel: str = ""
    """The channel it must come from, a name or a URL; empty for any."""
    archs: tuple[Arch, ...] = ()
    """The archs that need it, in the order of ARCHS; empty for all."""

    def __str__(self) -> str:
        channel = f"{self.channel}::" if self.channel else ""
        version = self.version or ("*" if self.build else "")
        archs = f"; {' '.join(self.archs)}" if self.archs else ""
        return " ".join(filter(None, (f"{channel}{self.name}", version, self.build, archs)))


def conda_requirement(name: str, constraint: str = "") -> CondaRequirement:
    """What one entry of a table of conda packages means.

    The name may begin with `channel::`. A constraint without an operator is one exact version, `=` keeps conda's fuzzy
    meaning, and a build may follow the version. After a `;` stand the archs that need the package, `linux` or `osx`.

    >>> str(conda_requirement("NumPy", "1.26.4"))
    'numpy ==1.26.4'
    >>> str(conda_requirement("conda-forge::ffmpeg", ""))
    'conda-forge::ffmpeg'
    >>> str(conda_requirement("scikit-learn", "1.4=py310*")), str(conda_requirement("numpy", "=1.26"))
    ('scikit-learn ==1.4 py310*', 'numpy =1.26')
    >>> str(conda_requirement("numpy", ">= 1.26, < 2"))
    'numpy >=1.26,<2'
    >>> str(conda_requirement("libgcc", ">=13 ; linux")), str(conda_requirement("libgcc", "; osx, linux"))
    ('libgcc >=13 ; linux-64 linux-aarch64', 'libgcc')

    Raises BadCondaRequirement.
    """
    text = f"{name} {constraint}".strip()
    constraint, semicolon, after = constraint.partition(";")
    channel, separator, bare = name.strip().rpartition("::")
    if separator and not re.fullmatch(_CHANNEL, channel):
        raise BadCondaRequirement(text, f"`{channel}` is not a channel")
    bare = bare.strip().lower()
    if not re.fullmatch(_NAME, bare):
        raise BadCondaRequirement(text, f"`{bare}` is not a name of a conda package")
    version, build = _version_and_build(text, constraint)
    archs = _archs(text, after) if semicolon else ()
    if archs and bare == "python":
        raise BadCondaRequirement(text, "every arch has the same Python")
    return CondaRequirement(bare, version, build, channel.rstrip("/") if separator else "", archs)


def both_of(one: CondaRequirement, other: CondaRequirement) -> CondaRequirement | None:
    """The requirement that holds where two of one package do; None if that cannot be, or is not plain.

    >>> numpy = CondaRequirement("numpy", ">=1.20")
    >>> str(both_of(numpy, CondaRequirement("numpy", "=1.26"))), str(both_of(numpy, CondaRequirement("numpy")))
    ('numpy =1.26,>=1.20', 'numpy >=1.20')
    >>> both_of(numpy, CondaRequirement("numpy", "=1.19")), both_of(numpy, CondaRequirement("numpy", "<2|>3"))
    (None, None)
    """
    if one == other:
        return one
    if (one.channel, one.build) != (other.channel, other.build) or "|" in one.version + other.version:
        return None
    plain = [PypiRequirement(one.name, specifier=_plain(each.version)) for each in (one, other)]
    clauses = sorted({clause for each in (one, other) for clause in each.version.split(",") if clause})
    return None if contradict(*plain) else one._replace(version=",".join(clauses))


def _plain(version: str) -> str:
    """A version as PEP 440 writes it, as far as that is plain: `=1.26` is a range."""
    return re.sub(
        r"(?:(?<=,)|\A)=?(\d+(?:\.\d+)*)(?:\.\*)?(?=,|\Z)",
        lambda found: f">={found[1]},<{_next(found[1])}",
        version,
    )


def _next(version: str) -> str:
    head, dot, last = version.rpartition(".")
    return f"{head}{dot}{int(last) + 1}"


def parse_conda_requirement(text: str) -> CondaRequirement:
    """The requirement that a canonical text, or what people write in a line, means.

    >>> parse_conda_requirement("conda-forge::numpy ==1.26.4 py312*")
    CondaRequirement(name='numpy', version='==1.26.4', build='py312*', channel='conda-forge', archs=())
    >>> parse_conda_requirement("numpy>=1.26").version, parse_conda_requirement("numpy=1.26=py312_0").build
    ('>=1.26', 'py312_0')

    Raises BadCondaRequirement.
    """
    match = re.match(r"\s*((?:\S+?::)?[^\s<>=!~\[]+)\s*(.*?)\s*$", text, re.DOTALL)
    if match is None:
        raise BadCondaRequirement(text, "it names no package")
    return conda_requirement(match[1], match[2])


def texts_for(texts: Iterable[str], arch: str) -> list[str]:
    """The canonical texts of the requirements that an arch has, without their archs.

    >>> texts_for(["numpy =1.26", "libgcc >=13 ; linux-64 linux-aarch64"], "linux-64")
    ['numpy =1.26', 'libgcc >=13']
    >>> texts_for(["numpy =1.26", "libgcc >=13 ; linux-64 linux-aarch64"], "osx-64")
    ['numpy =1.26']
    """
    parts = (text.partition(" ; ") for text in texts)
    return [body for body, _, archs in parts if not archs or arch in archs.split()]


def _archs(text: str, written: str) -> tuple[Arch, ...]:
    """The archs that stand after a `;`; none for all of them."""
    words = written.replace(",", " ").split()
    for word in words:
        if word not in _SYSTEMS:
            raise BadCondaRequirement(text, f"`{word}` is none of {', '.join(_SYSTEMS)}")
    if not words:
        raise BadCondaRequirement(text, "no arch follows the `;`")
    found = {arch for word in words for arch in _SYSTEMS[word]}
    return () if len(found) == len(ARCHS) else tuple(arch for arch in ARCHS if arch in found)


def _version_and_build(text: str, constraint: str) -> tuple[str, str]:
    words = re.sub(_SPACES, r"\1", constraint.strip()).split()
    if len(words) > 2:
        raise BadCondaRequirement(text, "more than a version and a build follow the name")
    version, build = (*words, "", "")[:2]
    if version and not build:
        version, build = _parted(version)
    written = version
    if version and not re.search(_OPERATOR, version) and "*" not in version and "|" not in version:
        version = f"=={version}"
    if version == "*" and not build:
        version = ""
    parts = re.split(_NO_COMMA, version)
    if len(parts) > 1:
        raise BadCondaRequirement(text, f"a comma is missing between `{parts[0]}` and `{parts[1]}`")
    if version and (not re.fullmatch(_VERSION, version) or re.search(_UNFINISHED, version)):
        raise BadCondaRequirement(text, f"`{written}` is not a version that conda knows")
    if build and not re.fullmatch(_BUILD, build):
        raise BadCondaRequirement(text, f"`{build}` is not a build")
    return version, build


def _parted(version: str) -> tuple[str, str]:
    """The version and the build of `1.4=py310_0`, and of `=1.4=py310_0` and `==1.4=py310_0`.

    With a build, `=` before the version means what it means to conda: exactly this one.
    """
    operator = version[: len(version) - len(version.lstrip("="))]
    rest = version[len(operator) :]
    if "=" not in rest or re.search(r"[<>!~]", rest.partition("=")[0] + rest[:1]) or rest.count("=") != 1:
        return version, ""
    number, _, build = rest.partition("=")
    if not number or number[-1] in "<>!~,|":
        return version, ""
    return (number if "*" in number else f"=={number}"), build
