"""Find the cause of a failed solve where uv's text names none or a wrong one, and what would help. Runs uv again.

Only ever on the way to an error, so a few runs more cost nobody anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from envlock.addresses import address
from envlock.model.arch import MARKER_VALUES
from envlock.model.requirement import PypiRequirement
from envlock.model.url import strip_credentials
from envlock.resolve.errors import ARCH, NoSolution, NoSuchPackage, NoWheel, OfOneEnvironment
from envlock.resolve.index_check import missing_index
from envlock.resolve.port import Request
from envlock.resolve.uv_compile import Compilation
from envlock.resolve.uv_failures import NO_WAY_OUT, NO_WHEEL, culprit, explain, to_build
from envlock.resolve.wheel_fallback import alone

_HIDDEN = re.compile(r"`([^`]+)` was found on (\S+), but not at the requested version")
_NAME = r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?"
_NONE_OF = re.compile(rf"there (?:is|are) no versions? of {_NAME}(?![\w.-])|\bonly {_NAME}(?![\w.-])\S* is available")
"""What uv prints for a package that no index has, if the requirement has an extra or a marker."""
_UNPUBLISHED = re.compile(rf"there (?:is|are) no versions? of {_NAME}==(\d+(?:\.\d+)?)(?=[\s,])")
_NOWHERE = re.compile(rf"there (?:is|are) no versions? of {_NAME}==([^\s,*]+)(?=[\s,])")
_PLATFORMS = re.compile(r"Wheels are available for `([^`]+)` \(v[^)]*\) on the following platforms?: (.*)")
_TAG = re.compile(r"`([^`]+)`")
_GLIBC = re.compile(r"manylinux_2_(\d+)_(.*)")
_MACOS = re.compile(r"macosx_(\d+)_(\d+)_(.*)")
_SERIES = tuple(f"3.{minor}" for minor in range(8, 16))
"""The Pythons that are tried if the requested one has no wheel."""


def cause_of(compilation: Compilation, text: str, error: OfOneEnvironment) -> OfOneEnvironment:
    """The error that uv's text means, with its cause and what helps; `error` itself if nothing more is found."""
    if isinstance(error, NoWheel):
        error = _of_missing_wheel(compilation, text, error)
    elif isinstance(error, NoSolution):
        error = _of_missing_package(compilation, text) or _of_no_solution(compilation, text, error)
    return _with_metaflow(compilation.request, text, error)


def _of_missing_wheel(compilation: Compilation, text: str, error: NoWheel) -> OfOneEnvironment:
    request, name = compilation.request, culprit(text)
    if name is None:
        return error
    asked = next((str(root._replace(marker="")) for root in request.requirements.roots() if root.name == name), name)
    version = alone(compilation, [asked], wheels_only=False).get(name)
    if version is not None:
        answer = compilation.run(compilation.roots, "--no-annotate", "--quiet", built=[(name, version)])
        if answer.status != 0 and not NO_WHEEL.search(answer.error):  # with a wheel, it would fail all the same
            return explain(request, answer.error, lambda: None)
    sentence, hint = _what_helps(compilation, text, name, asked, error.sentence)
    return NoWheel(
        request.name,
        request.arch,
        sentence,
        details=error.details,
        hint=hint,
        packages=error.packages,
        lacking=(name,) if version is not None else (),
    )


def _what_helps(compilation: Compilation, text: str, name: str, asked: str, sentence: str) -> tuple[str, str]:
    """What is wrong with the wheels of a package, and what to do."""
    request = compilation.request
    build = to_build(request, [name])
    root = next((root for root in request.requirements.pypi if root.name == name), None)
    other = alone(compilation, [name]).get(name)
    platforms = _tags(_PLATFORMS, text, name)
    fitting = "" if platforms else _other_python(compilation, name, asked)
    if fitting:
        return sentence, f"use Python {fitting}, which {asked} has wheels for, or allow another version of it"
    if other is not None:
        return sentence, f"allow {name} {other}, which has one; {build}"
    if platforms:
        return sentence, _with_platforms(request, name, platforms, root)
    if "with a matching" not in text:
        hint = f"{build}, or move {name} to a `conda` table"
        return f"no matching release of `{name}` has a wheel, only source archives", hint
    return sentence, f"remove the arch from `archs`, or allow another version of {name}; {build}"


def _other_python(compilation: Compilation, name: str, asked: str) -> str:
    """The nearest Pythons that a package has wheels for, such as `3.9 or later`; empty if there are none."""
    own = _numbers(compilation.request.python)
    later = [series for series in _SERIES if _numbers(series) > own]
    older = [series for series in reversed(_SERIES) if _numbers(series) < own]
    for rest, word in ((later, "later"), (older, "older")):
        for series in rest:
            if name in alone(compilation, [asked], python=f"{series}.0"):
                return f"{series} or {word}"
    return ""


def _with_platforms(request: Request, name: str, platforms: list[str], root: PypiRequirement | None) -> str:
    """What to do about wheels that exist for these platforms only."""
    if all(each.startswith("win") for each in platforms):
        marked = _marked(name, "sys_platform == 'win32'", root)
        return f"{name} is for Windows only; limit it: {marked}"
    floor = _floor(request, platforms)
    if floor:
        return f"raise the floor for {ARCH} in [envlock.system-requirements]: `{floor}`"
    having = _having(platforms)
    only_there = f"limit {name} to the archs that have a wheel: {_marked(name, having, root)}; or " if having else ""
    return f"{only_there}remove {ARCH} from `archs`"


def _having(platforms: Iterable[str]) -> str:
    """The marker of the archs that have one of the platforms.

    >>> _having(["manylinux_2_17_x86_64", "manylinux_2_28_aarch64", "macosx_11_0_arm64"])
    "sys_platform == 'linux' or sys_platform == 'darwin' and platform_machine == 'arm64'"
    """
    parts = []
    for system, tag, machines in (("linux", "linux", ("x86_64", "aarch64")), ("darwin", "macosx", ("x86_64", "arm64"))):
        own = [each for each in platforms if tag in each and not each.startswith("musl")]
        has = [each for each in machines if any(tag.endswith((each, "universal2")) for tag in own)]
        if has:
            limit = f" and platform_machine == '{has[0]}'" if len(has) == 1 else ""
            parts.append(f"sys_platform == '{system}'{limit}")
    return " or ".join(parts)


def _marked(name: str, marker: str, root: PypiRequirement | None) -> str:
    if root is not None:
        specifier = root.specifier.removeprefix("==") if "," not in root.specifier else root.specifier
        wanted = f"{specifier} ; {marker}" if specifier else f"; {marker}"
        return f'`{name} = "{wanted}"`'
    return f"add the marker `; {marker}` to the requirement that needs {name}"


def _floor(request: Request, platforms: Iterable[str]) -> str:
    """The lowest floor that one of the platforms needs; empty if none fits."""
    machine = MARKER_VALUES[request.arch]["platform_machine"]
    if request.arch.startswith("linux"):
        found = [match for match in map(_GLIBC.fullmatch, platforms) if match and match[2] == machine]
        return f'__glibc = "2.{min(int(match[1]) for match in found)}"' if found else ""
    macos = [match for match in map(_MACOS.fullmatch, platforms) if match and match[3] in {machine, "universal2"}]
    versions = [(int(match[1]), int(match[2])) for match in macos]
    return '__osx = "{}.{}"'.format(*min(versions)) if versions else ""


def _of_missing_package(compilation: Compilation, text: str) -> NoSuchPackage | None:
    """The error of a package that no index has, although uv only says that no version fits."""
    request = compilation.request
    for name in dict.fromkeys("".join(found) for found in _NONE_OF.findall(text)):
        answer = compilation.run([name], "--no-deps", "--no-annotate", "--quiet")
        error = explain(request, answer.error, lambda: missing_index(request)) if answer.status != 0 else None
        if isinstance(error, NoSuchPackage):
            return error
    return None


def _of_no_solution(compilation: Compilation, text: str, error: NoSolution) -> NoSolution:
    request = compilation.request
    roots = {root.name: root for root in request.requirements.roots()}
    details, hint = list(error.details), error.hint
    for name, index in dict.fromkeys(_HIDDEN.findall(text)):
        asked = str(roots[name]) if name in roots else name
        for other, version in _elsewhere(compilation, asked, name, index):
            details.append(
                f"{name} comes from {strip_credentials(index)}, the first index that has it; {other} has {version}"
            )
            wanted = roots[name].specifier if name in roots else f"=={version}"
            alone_from = f'`{name} = {{ version = "{wanted}", index = "{other}" }}`'
            hint = f"use only that index for it, {alone_from}, or list that index first"
    for name, version in _UNPUBLISHED.findall(text):
        if name in roots and roots[name].specifier == f"=={version}":
            some = alone(compilation, [f"{name}=={version}.*"]).get(name)
            if some is not None:
                hint = (
                    f'`{name} = "{version}"` means exactly {version}; for any {version}, such as {some}: '
                    f'`{name} = "{version}.*"`'
                )
    if (tuple(details), hint) == (error.details, error.hint):
        return _of_no_such_version(compilation, text, error)
    return type(error)(
        request.name, request.arch, error.sentence, details=tuple(details), hint=hint, packages=error.packages
    )


def _of_no_such_version(compilation: Compilation, text: str, error: NoSolution) -> NoSolution:
    """The error of a version that was never published, with the nearest ones."""
    request = compilation.request
    if error.hint != NO_WAY_OUT:  # something else is known to hide it
        return error
    roots = {(root.name, root.specifier) for root in request.requirements.pypi}
    for name, version in _NOWHERE.findall(text):
        if (name, f"=={version}") in roots:
            below, newest = (alone(compilation, [asked]).get(name) for asked in (f"{name}<{version}", name))
            near = [f"{below}, the release before it"] if below and below != newest else []
            near += [f"{newest}, the newest release"] if newest else []
            hint = f"use {', or '.join(near)}" if near else error.hint
            sentence = f"there is no {name} {version}"
            return type(error)(request.name, request.arch, sentence, details=error.details, hint=hint, packages=(name,))
    return error


def _elsewhere(compilation: Compilation, asked: str, name: str, first: str) -> list[tuple[str, str]]:
    """The later indexes that have what is requested, and its version there."""
    request = compilation.request
    urls = [*request.index_urls, request.default_index_url]
    shown = [address(url).kept.rstrip("/") for url in urls]
    start = shown.index(first.rstrip("/")) + 1 if first.rstrip("/") in shown else 0
    found = []
    for url in urls[start:]:
        only = replace(request, index_urls=(), default_index_url=url, find_links_urls=(), provided=())
        version = alone(compilation.beside("elsewhere", only), [asked], offline=request.offline).get(name)
        if version is not None:
            found.append((address(url).kept or "uv's default index", version))
    return found


def _with_metaflow(request: Request, text: str, error: OfOneEnvironment) -> OfOneEnvironment:
    """The error, with a note on which of its requirements are Metaflow's own."""
    if request.requirements.type != "pypi":
        return error
    asked = {root.name for root in request.requirements.pypi}
    needs = [
        need for need in request.requirements.metaflow if need.name in asked and f"{need.name}{need.specifier}" in text
    ]
    if not needs:
        return error
    names = " and ".join(f"`{need.name}{need.specifier}`" for need in needs)
    return type(error)(
        error.environment,
        error.archs,
        error.sentence,
        details=(*error.details, f"Metaflow needs {names} in every step"),
        hint=f"allow {names}, or set `metaflow-requirements = false` in [envlock] and list them yourself",
        packages=error.packages,
        lacking=error.lacking,
    )


def _numbers(python: str) -> tuple[int, int]:
    major, minor = (int(part) for part in python.split(".")[:2])
    return major, minor


def _tags(pattern: re.Pattern[str], text: str, name: str) -> list[str]:
    """The wheel tags that uv lists for a package: those of its newest release, if it lists several."""
    found = [match for match in pattern.finditer(text) if match[1] == name]
    return _TAG.findall(found[-1][found[-1].re.groups]) if found else []
