"""What may stand in a lock. A digest proves that nobody changed it unawares; who means harm computes a new one.

Paths, URLs and files for installers are made of these values, so what could lead one of them astray is damage, whatever
the digest says. Patterns are strings: `proof` puts them into one regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

from envlock.model.arch import MARKER_VALUES, Arch
from envlock.model.requirement import normalize_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.model.lock import LockedPackage

NAME = r"[a-z0-9]+(?:-[a-z0-9]+)*"
VERSION = r"[0-9A-Za-z][0-9A-Za-z.!+_-]{0,199}"
SHA256 = r"[0-9a-f]{64}"
# The authority is plain: two readers of a stranger one may not agree on which host it names.
URL = r"[Hh][Tt][Tt][Pp][Ss]?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?/[^\x00-\x20\x7f\"\\?#]*"

INDEX = r"[Hh][Tt][Tt][Pp][Ss]?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?(?:/[^\x00-\x20\x7f\"\\?#]*)?"
UPLOAD_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?Z"
COUNT = r"(?:0|[1-9][0-9]{0,14})"

_WHEEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,195}\.whl")
_ARCHIVE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,199}")
_PYTHON = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(?:(?:a|b|rc)[0-9]{1,4})?")
_INSTANT = re.compile(
    r"[0-9]{1,4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_VARIABLE = re.compile(r"\$\{[^}]*\}")
_LARGEST = 1 << 50


def is_wheel(filename: str) -> bool:
    """Whether it is what a wheel's file may be called.

    >>> is_wheel("demo-1.0-py3-none-any.whl"), is_wheel("../demo-1.0-py3-none-any.whl")
    (True, False)
    """
    return _WHEEL.fullmatch(filename) is not None


def is_instant(text: str) -> bool:
    """Whether it is what `exclude-newer` of a lock may be.

    >>> is_instant("2026-11-02T00:00:00Z"), is_instant("7d"), is_instant("2026-13-02T00:00:00Z")
    (True, False, False)
    """
    return _INSTANT.fullmatch(text) is not None


def wrong_package(package: LockedPackage) -> str:
    """What of a package of a wheel no lock may say; empty where all is well."""
    for what, value, pattern in (
        ("name", package.name, NAME),
        ("version", package.version, VERSION),
        ("url", package.url, URL),
        ("sha256", package.sha256, SHA256),
        ("index", package.index, f"(?:{INDEX})?"),
        *(("dependency", name, NAME) for name in package.dependencies),
    ):
        if re.fullmatch(pattern, value) is None:
            return f"{what} {shown(what, value)!r}"
    if not is_wheel(package.filename):
        return f"file name {package.filename!r}"
    if package.size is not None and (type(package.size) is not int or not 0 <= package.size < _LARGEST):
        return f"size {package.size!r}"
    return ""


def shown(what: str, value: str) -> str:
    """A refused value as a message may repeat it: of a URL, what is no secret.

    >>> shown("url", "https://me:secret@index.example/t/token/x?token=y")
    'https://index.example/t/***/x'
    """
    if what not in {"url", "channel", "index"} or type(value) is not str:
        return value
    from envlock.model.url import strip_credentials

    return re.sub(r"/t/[^/]+", "/t/***", strip_credentials(value))


def wrong_python(source: str, version: str, url: str = "", filename: str = "", sha256: str = "") -> str:
    """What of a Python no lock may say; empty where all is well. A mirror's URL may be that of a local file.

    >>> wrong_python("machine", "3.12.0"), wrong_python("machine", "3.12")
    ('', "version '3.12'")
    """
    if source not in {"machine", "uv", "conda"}:
        return f"source {source!r}"
    if _PYTHON.fullmatch(version) is None:
        return f"version {version!r}"
    if source != "uv":
        return "a file, though it has none of its own" if url or filename or sha256 else ""
    if re.fullmatch(URL, url) is None and not (url.startswith(("/", "file:///")) and url.isprintable()):
        return f"url {shown('url', url)!r}"
    if _ARCHIVE.fullmatch(filename) is None:
        return f"file name {filename!r}"
    return "" if re.fullmatch(SHA256, sha256) else f"sha256 {sha256!r}"


def is_index(index: str, asked: str) -> bool:
    """Whether the index that a package was locked from is the one that was asked, which may name variables.

    A lock has what a variable of the host held, and those of the path as they are written.

    >>> is_index("https://index.example/a", "https://Index.example:443/a/"), is_index("https://b.example/a", "https://a")
    (True, False)
    >>> is_index("https://index.example/${TEAM}/simple", "https://${HOST}/${TEAM}/simple/")
    True
    >>> is_index("", "https://index.example/a")
    False
    """
    if index == asked:
        return True
    index, asked = _plain_index(index), _plain_index(asked)
    if "${" not in asked:
        return index == asked
    if not asked.startswith(("http://", "https://")):  # a variable at the beginning may hold any part of a URL
        return re.fullmatch(".+".join(map(re.escape, _VARIABLE.split(asked))), index) is not None
    scheme, _, rest = asked.partition("://")
    place, slash, path = rest.partition("/")
    named = re.sub(r":\$\{[^}]*\}$", "", place)  # the port of the scheme is written nowhere
    held = "[^/:]+".join(map(re.escape, _VARIABLE.split(named.lower()))) + ("" if named == place else "(?::[0-9]+)?")
    return re.fullmatch(f"{scheme}://{held}{re.escape(slash + path)}", index) is not None


def _plain_index(url: str) -> str:
    """The URL as it is compared: host in lower case, no port of the scheme, no slash at the end."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url.rstrip("/")
    place, slash, path = rest.partition("/")
    scheme = scheme.lower()
    if "${" not in place:
        place = place.lower().removesuffix({"http": ":80", "https": ":443"}.get(scheme, ":"))
    if "%" in path:
        from urllib.parse import unquote

        path = unquote(path)
    return f"{scheme}://{place}{slash}{path}".rstrip("/")


def wrong_wheel(rows: Iterable[Sequence[str]], arch: str, python: str) -> str:
    """A wheel whose file is that of another package, version, arch or Python, in a sentence; empty where none is.

    Rows are as full_id hashes them, `python` is a version. What a file's name does not say for certain passes.

    >>> row = ("pypi", "demo", "1.0", "", "demo-1.0-cp312-cp312-macosx_11_0_arm64.whl", "")
    >>> wrong_wheel([row], "osx-arm64", "3.12.4")
    ''
    >>> wrong_wheel([row], "linux-64", "3.12.4")
    "the file of 'demo' is for another machine or Python: demo-1.0-cp312-cp312-macosx_11_0_arm64.whl"
    >>> wrong_wheel([("pypi", "demo", "1.1", *row[3:])], "osx-arm64", "3.12.4")
    "the file of 'demo' 1.1 is called as another's: demo-1.0-cp312-cp312-macosx_11_0_arm64.whl"
    """
    tags: dict[str, Sequence[str]] = {}
    for row in rows:
        kind, name, version, _, wheel, _ = row
        if kind != "pypi":
            continue
        start = f"{name.replace('-', '_')}-{version}-"
        if wheel.startswith(start):
            tags[wheel[len(start) :]] = row
        else:
            parts = wheel.split("-", 2)
            is_its = len(parts) == 3 and normalize_name(parts[0]) == name
            if not is_its or not _may_be_version(parts[1], version):
                return f"the file of {name!r} {version} is called as another's: {wheel}"
            tags[parts[2]] = row
    for tag, row in tags.items():
        if not _may_run(tag.removesuffix(".whl"), arch, python):
            return f"the file of {row[1]!r} is for another machine or Python: {row[4]}"
    return ""


def _may_be_version(written: str, version: str) -> bool:
    """Whether a file's version may be that version in another spelling."""
    one, other = (re.match(r"v?([0-9]+(?:\.[0-9]+)*)(.*)", each.lower()) for each in (written, version))
    if one is None or other is None or "!" in version:
        return True
    numbers = [[int(number) for number in each[1].split(".")] for each in (one, other)]
    for each in numbers:
        while each and not each[-1]:
            each.pop()
    return numbers[0] == numbers[1] and bool(one[2]) == bool(other[2])


def _may_run(tags: str, arch: str, python: str) -> bool:
    """Whether a wheel of these tags may be for that arch and Python."""
    parts = tags.rsplit("-", 2)
    if len(parts) < 3:
        return False
    interpreter = parts[0].rpartition("-")[2]
    return any(_may_be_of(each, arch) for each in parts[2].split(".")) and any(
        _may_interpret(each, parts[1], python) for each in interpreter.split(".")
    )


_OTHERS = ("_x86_64", "_aarch64", "_arm64", "_i686", "_armv7l", "_armv6l", "_ppc64le", "_ppc64", "_s390x", "_riscv64")


def _may_be_of(platform: str, arch: str) -> bool:
    if platform.startswith(("macosx_", "win")) if arch.startswith("linux") else not platform.startswith("macosx_"):
        return platform == "any"
    return platform.endswith(f"_{MARKER_VALUES[Arch(arch)]['platform_machine']}") or not platform.endswith(_OTHERS)


def _may_interpret(tag: str, abi: str, python: str) -> bool:
    found = re.fullmatch(r"(cp|py)([0-9])([0-9]*)", tag)
    if found is None:
        return not tag.startswith(("pp", "jy", "ip"))
    major, minor = (int(number) for number in python.split(".")[:2])
    series = (int(found[2]), int(found[3] or 0))
    if found[1] == "py" or "abi3" in abi.split(".") or not found[3]:
        return series[0] == major and series[1] <= minor
    return series == (major, minor)


def missing(roots: Iterable[str], edges: Iterable[str], held: Container[str]) -> str:
    """What is asked for, or needed by a package, and not held, in a sentence; empty where nothing is.

    >>> missing(["a"], ["b"], {"a", "b"}), missing(["a"], ["b"], {"a"})
    ('', "a package needs 'b', which is not in it")
    """
    for name in roots:
        if name not in held:
            return f"it is for {name!r}, which is not in it"
    return next((f"a package needs {name!r}, which is not in it" for name in edges if name not in held), "")


def twice(names: Iterable[str]) -> str:
    """A name that is there more than once; empty where none is.

    >>> twice(["a", "b", "a"])
    'a'
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
