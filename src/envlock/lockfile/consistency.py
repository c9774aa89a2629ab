"""Whether a lock holds what it says it is for: its Python, each package that is required, and no other.

The digest shows that a lock was not changed; this shows that it was whole when it was made.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import chain

from envlock.lockfile.allowed_values import NAME
from envlock.model.arch import MARKER_VALUES, Arch
from envlock.model.marker import all_hold, holds
from envlock.model.requirement import normalized, rules_out
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.lockfile.built_packages import BuiltLine

_ROOT = rf"(?P<name>{NAME})(?P<extras>\[[^\]]*\])?(?: @ (?P<url>\S+))?(?P<specifier>[^@; ]*)(?: ; (?P<marker>.*))?"
_VARIABLE = r"\$\{[^}]*\}"


class Root(NamedTuple):
    """A PyPI package that the lock's own requirements name."""

    name: str
    specifier: str
    marker: str
    only_index: str
    """The one index that it comes from; empty where it may come from any."""
    url: str = ""
    has_extras: bool = False


def roots_in(texts: Iterable[str], indexes: Mapping[str, str]) -> tuple[Root, ...]:
    """The requirements; `indexes` are those of the texts that come from one index alone."""
    found = ((text, re.fullmatch(_ROOT, text, re.DOTALL)) for text in texts)
    return tuple(
        Root(
            match["name"],
            match["specifier"],
            match["marker"] or "",
            indexes.get(text, ""),
            match["url"] or "",
            match["extras"] is not None,
        )
        for text, match in found
        if match is not None
    )


def overridden(roots: Iterable[Root], overrides: Iterable[Root]) -> tuple[Root, ...]:
    """The roots, with overrides in place of those of their packages.

    >>> root, override = roots_in(["a<2 ; os_name == 'posix'", "a>=2"], {})
    >>> [(each.specifier, each.marker) for each in overridden([root], [override])]
    [('>=2', "os_name == 'posix'")]
    """
    by_name: dict[str, list[Root]] = {}
    for each in overrides:
        by_name.setdefault(each.name, []).append(each)
    found: list[Root] = []
    for root in roots:
        if root.name not in by_name:
            found.append(root)
        found += (each._replace(marker=all_hold(root.marker, each.marker)) for each in by_name.get(root.name, ()))
    return tuple(found)


def another_python(required: str, origin: str, version: str, source: str) -> str:
    """That the locked Python is not of the range or the origin that is required, in a sentence; empty where it is.

    `origin` is the `python-from` of the requirements, `source` that of the Python.

    >>> another_python("<3.13,>=3.12", "uv", "3.13.0", "uv"), another_python("==3.12.*", "uv", "3.12.4", "uv")
    ('Python 3.13.0 is locked, but Python <3.13,>=3.12 is required', '')
    >>> another_python("==3.12.*", "machine", "3.11.4", "machine")
    'Python 3.11.4 is locked, but Python ==3.12.* is required'
    >>> another_python("", "machine", "3.12.4", "uv")
    'a Python from uv is locked, but one from machine is required'
    """
    if source != origin:
        return f"a Python from {source} is locked, but one from {origin} is required"
    series = [each[2:-2] for each in required.split(",") if re.fullmatch(r"==[0-9]+(?:\.[0-9]+)*\.\*", each)]
    fits = not rules_out(required, version) and all(f"{version}.".startswith(f"{each}.") for each in series)
    return "" if fits else f"Python {version} is locked, but Python {required} is required"


def unmet_root(
    wheels: Mapping[str, str],
    indexes: Mapping[str, str],
    provided: Container[str],
    edges: Mapping[str, Sequence[str]],
    roots: Iterable[Root],
    arch: Arch,
) -> str:
    """A required package that is absent, in another version, or from another index, in a sentence; empty where none is.

    `wheels` are versions by name, `indexes` where those are from, `provided` the names that conda packages bring,
    `edges` the names that each wheel depends on.
    """
    on_arch = [root for root in roots if not root.marker or holds(root.marker, MARKER_VALUES[arch])]
    for name, specifier, _, index, _, _ in on_arch:
        if name in wheels and rules_out(specifier, wheels[name]):
            return f"{name} {wheels[name]} is locked, but {name}{specifier} is required"
        if index and name in wheels and not is_index(indexes.get(name, ""), index):
            place = indexes.get(name) or "no index"
            return f"{name} {wheels[name]} from {place} is locked, but {name} from {index} is required"
    absent = (root.name for root in on_arch if root.name not in wheels and root.name not in provided)
    return missing((), chain.from_iterable(edges.values()), wheels) or missing(absent, (), ())


def unneeded_wheel(
    edges: Mapping[str, Sequence[str]],
    provided: Container[str],
    roots: Sequence[Root],
    others: Iterable[str],
    arch: Arch,
) -> str:
    """A wheel that nothing needs, in a sentence; empty where there is none, or where the lock cannot tell.

    `edges` has every wheel, with the names that it depends on; `others` are names that may be roots too. The extras of
    what a conda package brings may need any wheel.
    """
    if any(root.has_extras and root.name not in edges and root.name in provided for root in roots):
        return ""
    names = (root.name for root in roots if not root.marker or holds(root.marker, MARKER_VALUES[arch]) is not False)
    return unneeded(edges, chain(names, others))


def unneeded(edges: Mapping[str, Sequence[str]], roots: Iterable[str]) -> str:
    """A locked package that no root needs, in a sentence; empty where there is none.

    `edges` has every locked package, with the names that it depends on.

    >>> unneeded({"a": ["b"], "b": ["a"], "c": []}, ["a"]), unneeded({"a": ["b"], "b": []}, ["a", "z"])
    ('c is locked, but nothing that is required needs it', '')
    """
    found = dict(edges)
    todo = list(roots)
    while todo:
        todo += found.pop(todo.pop(), ())
    return f"{min(found)} is locked, but nothing that is required needs it" if found else ""


def unmet_limit(
    rows: Iterable[Sequence[str]],
    built: Mapping[str, BuiltLine],
    constraints: Iterable[Root],
    overrides: Iterable[Root],
    hashes: Mapping[str, frozenset[str]],
    arch: Arch,
) -> str:
    """A wheel that a constraint or an override rules out, or that has none of its required hashes; empty if none is.

    The answer is a sentence.

    The hash of an sdist is met by what was built from it. Rows are as full_id hashes them.
    """
    wheels = {row[1]: row for row in rows if row[0] == "pypi"}
    for kind, limits in (("a constraint", constraints), ("an override", overrides)):
        for name, specifier, marker, *_ in limits:
            applies = name in wheels and (not marker or holds(marker, MARKER_VALUES[arch]))
            if applies and rules_out(specifier, wheels[name][2]):
                return f"{name} {wheels[name][2]} is locked, but {kind} asks for {name}{specifier}"
    for name, allowed in hashes.items():
        if name in wheels and allowed.isdisjoint({wheels[name][5], built[name].content if name in built else ""}):
            return f"the file of {name} {wheels[name][2]} has none of the hashes that are required"
    return ""


def another_source(built: Mapping[str, BuiltLine], wheels: Container[str], roots: Iterable[Root], arch: Arch) -> str:
    """A wheel that was not built from what is required, in a sentence; empty if there is none."""
    for root in roots:
        if not root.url or root.name not in wheels or (root.marker and not holds(root.marker, MARKER_VALUES[arch])):
            continue
        if not _is_of(root.url, built.get(root.name)):
            return f"{root.name} was not built from {root.url}, which is required"
    return ""


def unasked_source(
    built: Mapping[str, BuiltLine], roots: Iterable[Root], arch: Arch, *, has_folders: bool = False
) -> str:
    """A wheel of a source that no requirement names, in a sentence; empty if there is none.

    An sdist of an index is not named: `build` allows it. Nor is a wheel, if the wheels of folders may be taken.
    """
    urls: dict[str, list[str]] = {}
    for root in roots:
        if root.url and (not root.marker or holds(root.marker, MARKER_VALUES[arch]) is not False):
            urls.setdefault(root.name, []).append(root.url)
    for name, line in built.items():
        if has_folders and line.kind == "wheel":
            continue
        if not line.from_index and not any(_is_of(url, line) for url in urls.get(name, ())):
            return f"{name} was built from {line.url or line.path}, which nothing requires"
    return ""


def _is_of(url: str, line: BuiltLine | None) -> bool:
    """Whether a package, with what it was built from if it was, is of the URL that a requirement has."""
    from envlock.model.url import COMMIT, direct_url

    asked = direct_url(url)
    if asked is None or (asked.kind == "web" and asked.is_wheel):
        return line is None
    if line is None or line.from_index or line.subdirectory != asked.subdirectory:
        return False
    if asked.kind == "git":
        is_commit = re.fullmatch(COMMIT, asked.ref) is not None
        return line.kind == "git" and is_index(line.url, asked.place) and (not is_commit or line.commit == asked.ref)
    if asked.kind == "web":
        sha256 = url.partition("sha256=")[2].partition("&")[0].lower()
        return line.kind == "sdist" and is_index(line.url, asked.place) and sha256 in {"", line.content}
    if asked.kind == "folder":
        return line.kind == "folder" and line.content == asked.sha256
    if asked.is_wheel:
        return line.kind == "wheel" and line.sha256 == asked.sha256
    return line.kind == "sdist" and not line.url and line.content == asked.sha256


def missing(roots: Iterable[str], edges: Iterable[str], locked: Container[str]) -> str:
    """A package that is required, or that another depends on, and that is not locked; empty where none is.

    >>> missing(["a"], ["b"], {"a", "b"}), missing(["a"], ["b"], {"a"}), missing(["a"], [], {})
    ('', 'a package depends on b, which is not locked', 'a is required, but not locked')
    """
    for name in roots:
        if name not in locked:
            return f"{name} is required, but not locked"
    return next((f"a package depends on {name}, which is not locked" for name in edges if name not in locked), "")


def is_index(index: str, required: str) -> bool:
    """Whether a package was locked from the index that is required, whose URL may name variables.

    A lock holds the value of a variable in the host; variables in the path stay as they are written.

    >>> is_index("https://index.example/a", "https://Index.example:443/a/"), is_index("https://b.example/a", "https://a")
    (True, False)
    >>> is_index("https://index.example/${TEAM}/simple", "https://${HOST}/${TEAM}/simple/")
    True
    >>> is_index("http://127.0.0.1:8000/simple", "http://${HOST}/simple")  # what it held may have a port
    True
    >>> is_index("", "https://index.example/a")
    False
    """
    if index == required:
        return True
    index, required = _plain_index(index), _plain_index(required)
    if "${" not in required:
        return index == required
    if not required.startswith(("http://", "https://")):  # a variable at the beginning may hold any part of a URL
        return re.fullmatch(".+".join(map(re.escape, re.split(_VARIABLE, required))), index) is not None
    scheme, _, rest = required.partition("://")
    place, slash, path = rest.partition("/")
    named = re.sub(r":\$\{[^}]*\}$", "", place)  # the port of the scheme is written nowhere
    held = "[^/]+".join(map(re.escape, re.split(_VARIABLE, named.lower()))) + ("" if named == place else "(?::[0-9]+)?")
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
    """A wheel file of another package, version, arch or Python, in a sentence; empty where there is none.

    Rows are as full_id hashes them, `python` is a version. Where a file's name leaves room for doubt, the file passes.

    >>> row = ("pypi", "demo", "1.0", "", "demo-1.0-cp312-cp312-macosx_11_0_arm64.whl", "")
    >>> wrong_wheel([row], "osx-arm64", "3.12.4")
    ''
    >>> wrong_wheel([row], "linux-64", "3.12.4")
    'the wheel of demo is for another platform or Python: demo-1.0-cp312-cp312-macosx_11_0_arm64.whl'
    >>> wrong_wheel([("pypi", "demo", "1.1", *row[3:])], "osx-arm64", "3.12.4")
    'the wheel of demo 1.1 has the name of another: demo-1.0-cp312-cp312-macosx_11_0_arm64.whl'
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
            is_its = len(parts) == 3 and normalized(parts[0]) == name
            if not is_its or not _may_be_version(parts[1], version):
                return f"the wheel of {name} {version} has the name of another: {wheel}"
            tags[parts[2]] = row
    for tag, row in tags.items():
        if not _may_run(tag.removesuffix(".whl"), arch, python):
            return f"the wheel of {row[1]} is for another platform or Python: {row[4]}"
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
