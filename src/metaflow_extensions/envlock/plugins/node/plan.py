"""The plan: the file in a cache that lists all that a node does for one environment on one arch.

envlock writes it (`envlock.cache.plan`). Anyone who can write to the cache can write one: each value is checked here.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple, Optional, Pattern, Tuple, Union

from .errors import Damaged, Misconfigured
from .home import variable_fault
from .manifest import Target

FORMAT = 4
INSTALLS = ("wheels", "conda")
KINDS = ("wheel", "conda")
LARGEST = 64 << 20
"""Bytes that a plan may have."""

_LARGEST_OBJECT = 1 << 40
_OBJECT = re.compile(
    r"(?:packages|kits/objects)/(?P<two>[0-9a-f]{2})/(?P<sha256>[0-9a-f]{64})/[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,199}\Z"
)
_PART_PATH = re.compile(r"parts/(?P<two>[0-9a-f]{2})/(?P<sha256>[0-9a-f]{64})\.tar\.zst\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
LARGEST_PART = 1 << 31
"""Bytes, compressed or not: a part is held in memory."""
_COMPILER = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+[a-z0-9]{0,9}\Z")
_PLACEHOLDER = re.compile(r"(?:(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+)?\Z")
_SERIES = re.compile(r"[0-9]+\.[0-9]+\Z")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*\Z")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,199}\Z")
"""A name or a version."""


class Object(NamedTuple):
    """One file of the cache."""

    path: str
    """Below the root of the cache; ends with the SHA-256 and the file's own name."""
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """Its own name, which installers read."""
        return self.path.rpartition("/")[2]


class Build(NamedTuple):
    """An archive of a Python."""

    path: str
    size: int
    sha256: str
    version: str
    executable: str
    """Its interpreter, relative to where the archive is unpacked."""

    @property
    def filename(self) -> str:
        """The archive's own name."""
        return self.path.rpartition("/")[2]


class Package(NamedTuple):
    """A package of the environment."""

    kind: str
    """`wheel` or `conda`."""
    name: str
    version: str
    path: str
    size: int
    sha256: str


class Part(NamedTuple):
    """One compressed tar of a pack."""

    path: str
    size: int
    sha256: str
    raw_size: int
    """Bytes before compression."""
    raw_sha256: str


class Pack(NamedTuple):
    """The finished prefix of an environment."""

    compiler: str
    """The version of the CPython that made its bytecode."""
    placeholder: str
    """What stands for the path of the prefix in files of conda packages; empty if there are none."""
    parts: Tuple[Part, ...]


Fetched = Union[Object, Build, Package]
"""What a plan names, and a node fetches."""


class Python(NamedTuple):
    """The Python of an environment."""

    series: str
    image: Optional[Tuple[Tuple[int, Optional[int]], ...]]
    """The micro versions of which the image's own Python may be: first and last, None for no last. None if it never
    serves."""
    build: Optional[Build]
    """What serves otherwise; None if a package brings the Python, or if there is none."""


class Tools(NamedTuple):
    """What installs the packages."""

    uv: Object
    rattler: Tuple[Object, ...]
    kernel: Optional[Object]
    python: Optional[Build]
    """What runs the kernel."""
    zstd: Optional[Object]
    """The wheel of backports.zstd, if there is a pack; it decompresses where the image has no libzstd."""


class Plan(NamedTuple):
    """All that a node does for one environment on one arch."""

    arch: str
    req_id: str
    full_id: str
    install: str
    """`wheels` or `conda`: how the packages are joined."""
    python: Python
    system: Tuple[Tuple[str, str], ...]
    """The least versions that the node must have: `("__glibc", "2.28")`."""
    tools: Tools
    packages: Tuple[Package, ...]
    lock: str
    """The text of the lock, for conda packages."""
    variables: Tuple[Tuple[str, str], ...]
    """The variables to set where the environment is entered."""
    pack: Optional[Pack]
    """What is unpacked in place of the packages, if it can be."""
    data: bytes
    """The bytes of the plan itself."""


def folder_of(arch: str, req_id: str, full_id: str) -> str:
    """The folder in a cache of all plans of one environment on one arch."""
    return "plans/%s/%s/%s" % (arch, req_id, full_id)


def path_of(target: Target) -> str:
    """The path of a plan in a cache."""
    return "%s/%s.json" % (folder_of(target.arch, target.req_id, target.full_id), target.plan)


def parse(data: bytes, target: Target) -> Plan:
    """The plan in some bytes, which has the hash, the ids and the arch of a target.

    Raises Damaged; Misconfigured for a format, an install or a kind of package that is newer than this.
    """
    if hashlib.sha256(data).hexdigest() != target.plan:
        raise Damaged(
            "%s in the cache is not the plan that it is named for; it was not used: run `envlock push` and deploy the "
            "flow again" % path_of(target)
        )
    try:
        fields = json.loads(data.decode("utf-8"))
        _refuse_newer(fields)
        plan = _plan(fields, data)
        if (plan.arch, plan.req_id, plan.full_id) != target[:3]:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged(
            "%s in the cache has the right hash, but cannot be carried out; it was not used: run `envlock push` and "
            "deploy the flow again" % path_of(target)
        ) from None
    return plan


def is_safe(path: object) -> bool:
    """Whether a path stays below the folder that it is put in.

    >>> is_safe("python/bin/python3.12"), is_safe("../x"), is_safe("/etc/x"), is_safe("a//b")
    (True, False, False, False)
    """
    return isinstance(path, str) and len(path) < 500 and all(map(_PART.match, path.split("/")))


def _refuse_newer(fields: Any) -> None:
    found = fields["format"]
    if type(found) is not int or found < 1:
        raise ValueError
    if found > FORMAT:
        raise _newer("has format %d" % found)
    if _text(fields["install"]) not in INSTALLS:
        raise _newer("installs by `%s`" % fields["install"])
    for package in fields["packages"]:
        if _text(package["kind"]) not in KINDS:
            raise _newer("has a package of the kind `%s`" % package["kind"])


def _newer(what: str) -> Misconfigured:
    return Misconfigured("this plan needs a newer envlock (it %s): deploy the flow again with that" % what)


def _plan(fields: Any, data: bytes) -> Plan:
    tools = fields["tools"]
    plan = Plan(
        arch=fields["arch"],
        req_id=fields["req_id"],
        full_id=fields["full_id"],
        install=fields["install"],
        python=_python(fields["python"]),
        system=tuple((_word(name), _word(version)) for name, version in fields["system"]),
        tools=Tools(
            uv=Object(*_file(tools["uv"])),
            rattler=tuple(Object(*_file(each)) for each in tools.get("rattler", ())),
            kernel=Object(*_file(tools["kernel"])) if "kernel" in tools else None,
            python=_build(tools["python"]) if "python" in tools else None,
            zstd=Object(*_file(tools["zstd"])) if "zstd" in tools else None,
        ),
        packages=tuple(
            Package(each["kind"], _word(each["name"]), _word(each["version"]), *_file(each))
            for each in fields["packages"]
        ),
        lock=_text(fields.get("lock", "")),
        variables=tuple(map(_variable, fields.get("variables", ()))),
        pack=_pack(fields["pack"], fields["python"]["series"]) if "pack" in fields else None,
        data=data,
    )
    if plan.install == "conda":
        can_install = plan.tools.rattler and plan.tools.kernel and plan.tools.python and plan.lock
    else:
        can_install = plan.python.build is not None or plan.python.image is not None
        can_install = can_install and all(each.kind == "wheel" for each in plan.packages)
    if not can_install or (plan.pack is not None and bool(plan.pack.placeholder) != (plan.install == "conda")):
        raise ValueError
    return plan


def _python(fields: Any) -> Python:
    image, build = fields["image"], fields["build"]
    if not _SERIES.match(fields["series"]):
        raise ValueError
    if image is not None:
        image = tuple((first, last) for first, last in image)
        if any(type(first) is not int or not (last is None or type(last) is int) for first, last in image):
            raise ValueError
    return Python(fields["series"], image, None if build is None else _build(build))


def _build(fields: Any) -> Build:
    if not is_safe(fields["executable"]):
        raise ValueError
    return Build(*_file(fields), version=_word(fields["version"]), executable=fields["executable"])


def _pack(fields: Any, series: str) -> Pack:
    compiler, placeholder = fields["compiler"], fields["placeholder"]
    parts = tuple(map(_part, fields["parts"]))
    raw = hashlib.sha256("".join("%s\n" % part.raw_sha256 for part in parts).encode()).hexdigest()
    is_valid = _COMPILER.match(compiler) and compiler.startswith(series + ".") and _PLACEHOLDER.match(placeholder)
    if not parts or not is_valid or raw != fields["raw"] or len({part.path for part in parts}) != len(parts):
        raise ValueError
    return Pack(compiler, placeholder, parts)


def _part(fields: Any) -> Part:
    raw_sha256 = fields["raw_sha256"]
    if not _SHA256.match(raw_sha256):
        raise ValueError
    path, size, sha256 = _file(fields, _PART_PATH, LARGEST_PART)
    return Part(path, size, sha256, _size(fields["raw_size"], LARGEST_PART), raw_sha256)


def _file(fields: Any, pattern: Pattern[str] = _OBJECT, largest: int = _LARGEST_OBJECT) -> Tuple[str, int, str]:
    path, sha256 = fields["path"], fields["sha256"]
    match = pattern.match(path)
    if match is None or match.group("sha256") != sha256 or match.group("two") != sha256[:2]:
        raise ValueError
    return path, _size(fields["size"], largest), sha256


def _size(size: Any, largest: int) -> int:
    if type(size) is not int or not 0 <= size <= largest:
        raise ValueError
    return size


def _variable(row: Any) -> Tuple[str, str]:
    name, value = map(_text, row)
    if variable_fault(name, value):
        raise ValueError
    return name, value


def _word(value: Any) -> str:
    if not _WORD.match(value):
        raise ValueError
    return str(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError
    return value
