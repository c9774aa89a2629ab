"""Turn uv's error text into one of our errors: short, with what helps, and without secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from envlock.addresses import address
from envlock.model.lock import LockedPackage
from envlock.model.url import strip_credentials
from envlock.redaction import redact
from envlock.resolve.errors import (
    BadDirectUrl,
    IndexNotFound,
    IndexUnauthorized,
    IndexUnreachable,
    NoSolution,
    NoSuchPackage,
    NoWheel,
    OfOneEnvironment,
    UnexpectedAnswer,
)
from envlock.resolve.port import Request
from envlock.resolve.provided_conflicts import contradicted, explain_contradiction
from envlock.uv_command import uv_reason

_UNREACHABLE = re.compile(
    r"error sending request|client error \(Connect\)|dns error|timed out|Request failed after|Connection refused"
    r"|HTTP status server error"
)
_REFUSED = re.compile(r"HTTP status client error")
_STATUS = re.compile(r"HTTP status (?:server|client) error \((\d+[^)]*)\)")
_NOBODY = re.compile(r"client error \(Connect\)|dns error|Connection refused|operation timed out")
_RETRIES = re.compile(r"Request failed after \d+ retr\w+ in [\d.]+s\s*")
_OFFLINE = re.compile(r"network was disabled|not found in the cache|the network is disabled|offline", re.IGNORECASE)
_UNAUTHORIZED = re.compile(r"lack of valid authentication credentials|401 Unauthorized|403 Forbidden")
NO_WHEEL = re.compile(r"no usable wheels|no wheels with a matching|Wheels are required for|only-binary|no-build")
_NOT_FOUND = re.compile(r"`?([A-Za-z0-9._-]+)`? was not found in the package registry")
_BAD_URL = re.compile(
    r"Failed to (?:download|fetch|read)|Failed to parse|not a valid (?:wheel|archive)|invalid wheel"
    r"|does not match `[^`]*` in the distribution filename",
    re.IGNORECASE,
)
_NO_EXTRA = re.compile(r"The package `([^`=]+)(?:==([^`]+))?` does not have an extra named `([^`]+)`")
_YANKED = re.compile(r"^warning: `([^`=\s]+)==([^`\s]+)` is yanked(?: \(reason: \"(.*)\"\))?$", re.MULTILINE)
_LINES, _LENGTH = 8, 400
"""How much of uv's explanation is shown."""
_CONTINUED = re.compile(r"(hint:|error:|cause:|╰─▶|├─▶)")
_CULPRIT = (
    re.compile(r"Wheels are required for `([^`]+)`"),
    re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?(?:[=<>!~]=?\S+)? ha(?:s|ve) no (?:usable )?wheels"),
)
# Advice about options that envlock sets itself would only mislead.
_OUR_OWN_OPTION = re.compile(
    r"--no-build|--only-binary|--index-strategy|--no-index|dependency confusion|--allow-build|--python-version"
    r"|tool\.uv\.environments|`requires-python`"
)
_ADVICE = re.compile(r"\s*Consider [^.]*(?:`--|`exclude-newer-package`)[^.]*\.")

_EXAMPLE = re.compile(r" \(e\.g\., `[^`]*`\)")
"""A tag of the target: the same sentence has another one for each arch."""

_CREDENTIALS = (
    "add credentials to ~/.netrc or to the index URL (https://${USER}:${TOKEN}@...), "
    "or set ENVLOCK_INDEX_<HOST>_USERNAME and ENVLOCK_INDEX_<HOST>_PASSWORD"
)
_LOCKED_OFFLINE = (
    "offline, and this machine has not cached all that is needed from the indexes",
    "run `envlock lock` once without `--offline`",
)
NO_WAY_OUT = "change one of the lines above"
"""The hint if nothing more is known of a contradiction."""
_WHEELS = (
    "allow another version of it, choose another Python, raise the floor in [envlock.system-requirements], "
    "or remove the arch from `archs`"
)


def to_build(request: Request, names: Iterable[str]) -> str:
    """What lets packages be built from their sdists; what is wrong if they may be already."""
    names = sorted(set(names))
    if request.may_build is True or (request.may_build and set(names) <= set(request.may_build)):
        return "its sdist cannot be built either" if len(names) == 1 else "their sdists cannot be built either"
    known = request.may_build or ()
    listed = ", ".join(f'"{name}"' for name in (*known, *(name for name in names if name not in known)))
    return f"to build {' and '.join(names)} from source, set `build = [{listed}]` in [envlock]"


def explain(request: Request, stderr: str, index_is_missing: Callable[[], str | None]) -> OfOneEnvironment:
    """The error that uv's text means. Calls `index_is_missing` only if a package was not found."""
    text = redact(stderr)
    reason = reason_of(text)
    limits = request.requirements.constraints
    overrides = request.requirements.overrides
    named = tuple(sorted(mentioned({*root_names(request), *(limit.name for limit in (*limits, *overrides))}, text)))
    at_odds = contradicted(request, text)
    if at_odds and "No solution found" in text:
        return explain_contradiction(request, text, at_odds, reason, named)
    wheel = _wheel_of(request, text)
    index = "" if wheel else _index_of(request, text)
    kind, message, hint = _kind(request, text, wheel, index, index_is_missing)
    if index and issubclass(kind, (IndexUnauthorized, IndexUnreachable)):
        named = (strip_credentials(index),)
    found = culprit(text) if kind is NoWheel else None
    lacking = (found,) if found else ()
    taking_part = sorted(str(limit) for limit in limits if limit.name in named)
    if taking_part and issubclass(kind, NoSolution):
        reason = (*reason, f"constraints, which uv tells as requirements of others: {', '.join(taking_part)}")
    in_force = sorted(str(each) for each in overrides if each.name in named)
    if in_force and issubclass(kind, NoSolution):
        reason = (*reason, f"overrides, in place of what is required: {', '.join(in_force)}")
    error = kind(request.name, request.arch, message, details=reason, hint=hint, packages=named, lacking=lacking)
    if isinstance(error, IndexUnreachable) and not request.offline:
        error.nobody_there = bool(_NOBODY.search(text)) and not wheel
    return error


def not_kept(request: Request) -> IndexUnreachable:
    """The error of a request that cannot be met offline."""
    sentence, hint = _LOCKED_OFFLINE
    return IndexUnreachable(request.name, request.arch, sentence, hint=hint)


def reason_of(text: str) -> tuple[str, ...]:
    """The part of uv's text that is shown: its sentences, without secrets or misleading advice."""
    lines = [_cut(line) for line in shorten(redact(text)) if not _OUR_OWN_OPTION.search(line)]
    if len(lines) > _LINES:
        lines[2 : 3 - _LINES] = [f"... ({len(lines) - _LINES + 1} more steps)"]
    return tuple(lines)


def _cut(line: str) -> str:
    """A line, without its middle if it is too long to read."""
    return line if len(line) <= _LENGTH else f"{line[: _LENGTH // 2]} ... {line[-_LENGTH // 2 :]}"


def mentioned(names: Iterable[str], text: str) -> set[str]:
    """The names that uv's text mentions.

    >>> mentioned(["beta", "alpha", "bet"], "alpha-two depends on beta{os_name == 'nt'}>=2")
    {'beta'}
    """
    return {name for name in names if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text)}


def missing_extras(text: str) -> tuple[tuple[str, str, str], ...]:
    """The extras that uv warns of: package, its version, extra.

    >>> missing_extras("warning: The package `rich==15.0` does not have an extra named `nope`")
    (('rich', '15.0', 'nope'),)
    """
    return tuple(dict.fromkeys(_NO_EXTRA.findall(text)))


def yanked(text: str, packages: Iterable[LockedPackage]) -> tuple[str, ...]:
    """A sentence for each of these packages that was yanked (PEP 592), by uv's warnings.

    >>> xi = LockedPackage("xi", "1.1", "xi-1.1-py3-none-any.whl", "", "")
    >>> yanked('warning: `xi==1.1` is yanked (reason: "it was broken")', [xi])
    ('xi 1.1 was yanked: it was broken',)
    """
    locked = {(each.name, each.version) for each in packages}
    found = dict.fromkeys(_YANKED.findall(text))
    return tuple(yanked_sentence(*each) for each in found if each[:2] in locked)


def nobody_answers(text: str) -> bool:
    """Whether uv's text says that no connection to an index could be made."""
    return _NOBODY.search(text) is not None


def yanked_sentence(name: str, version: str, reason: str) -> str:
    """That a release was yanked, and the reason if there is one."""
    return f"{name} {version} was yanked" + (f": {' '.join(reason.split())}" if reason.strip() else "")


def culprit(text: str) -> str | None:
    """The package whose missing wheel uv complains about.

    >>> culprit("Because epsilon==1.0 has no usable wheels and you require epsilon, it fails.")
    'epsilon'
    """
    matches = (pattern.search(text) for pattern in _CULPRIT)
    return next((match[1] for match in matches if match is not None), None)


def shorten(text: str) -> tuple[str, ...]:
    r"""The sentences of uv's text, one a line, without its tree characters.

    >>> shorten("No solution found when resolving:\n  ╰─▶ Because a needs b>=2 and\n      you require b<2, it fails.\n")
    ('Because a needs b>=2 and you require b<2, it fails.',)
    >>> shorten("Because x, we can conclude that y. And because z, we can conclude that w.")
    ('Because x: y.', 'And because z: w.')
    """
    paragraphs: list[str] = []
    for line in uv_reason(text):
        clean = _RETRIES.sub("", re.sub(r"^[^\w`'\"(]+\s*", "", line)).strip()
        if not clean or clean.startswith(("No solution found", "Resolved ")):
            continue
        starts_new = _CONTINUED.match(line) is not None or not paragraphs
        if starts_new:
            paragraphs.append(clean.removeprefix("hint:").strip())
        else:
            paragraphs[-1] += f" {clean}"
    text = _ADVICE.sub("", "\n".join(paragraphs)).replace("your project's requirements", "your requirements")
    text = text.replace("your project depends on", "you require")
    text = text.replace(", we can conclude that your requirements are", ":")
    text = re.sub(r",? we can conclude that", ":", _EXAMPLE.sub("", text))
    text = text.replace(". And because", ".\nAnd because")
    return tuple(dict.fromkeys(text.splitlines()))


def _kind(
    request: Request, text: str, wheel: str, index: str, index_is_missing: Callable[[], str | None]
) -> tuple[type[OfOneEnvironment], str, str]:
    """The class, the message and the hint; `wheel` or `index` is the URL in uv's text."""
    place = wheel or address(index).shown or "an index"
    if _UNAUTHORIZED.search(text):
        return IndexUnauthorized, f"{place} denied access: the credentials are missing or wrong", _CREDENTIALS
    if request.offline and _OFFLINE.search(text):
        return IndexUnreachable, *_LOCKED_OFFLINE
    if _UNREACHABLE.search(text) or (index and _REFUSED.search(text)):
        status = _STATUS.search(text)
        if status is None:
            again = "check the network and the index URL, then run `envlock lock` again"
            return IndexUnreachable, f"{place} did not answer", again
        again = "run `envlock lock` again later, or contact the maintainers of the index"
        if status[1].startswith("501"):
            again = "make the index answer HEAD requests for its files, or serve their metadata beside them (PEP 658)"
        return IndexUnreachable, f"{place} answered `{status[1]}`", again
    missing = _NOT_FOUND.search(text)
    if missing is not None:
        dead = index_is_missing()
        if dead is not None:
            hint = "fix `index-url`, `extra-indices` or `indexes` in `[envlock]`, or `extra_indices` in `pypi`"
            return IndexNotFound, f"there is no package index at {dead}", hint
        own = next(
            (root.from_index for root in request.requirements.roots() if root.from_index and root.name == missing[1]),
            None,
        )
        if own is not None:
            return NoSuchPackage, f"`{missing[1]}` was not found on {own}, its `index`", "fix the name or the `index`"
        return (
            NoSuchPackage,
            f"`{missing[1]}` was not found on any index",
            "check the name, or add the index that has it to `extra_indices`",
        )
    if NO_WHEEL.search(text):
        package = culprit(text)
        return (
            NoWheel,
            f"{f'`{package}`' if package else 'a package'} has no compatible wheel for Python {request.series}",
            f"{_WHEELS}; {to_build(request, [package])}" if package else _WHEELS,
        )
    if "No solution found" in text:
        return NoSolution, "no solution found for the requirements", _way_out(text)
    if _BAD_URL.search(text) and any(root.url for root in request.requirements.roots()):
        return BadDirectUrl, *_of_bad_url(request, text)
    return UnexpectedAnswer, "uv failed to resolve the requirements", "see the reason above"


def _of_bad_url(request: Request, text: str) -> tuple[str, str]:
    """The message and the hint of a file, named by its URL or built, that is no wheel."""
    built = next((each for each in request.wheels if f"{each.name} @ {each.source.said}" in text), None)
    if built is None:
        return "a direct URL is not a wheel that can be downloaded", "use the URL of a wheel or an sdist"
    advice = "report it to the maintainers of the package, or use another release"
    return f"the wheel of {built.name}, from {built.source.said}, is not valid", advice


def _index_of(request: Request, text: str) -> str:
    """The index, as written, that uv's text is about; found by its host if files lie elsewhere."""
    urls = request.every_index_url
    kept = {url: address(url).kept.rstrip("/") for url in urls}
    of_host = [url for url in urls if f"//{urlsplit(kept[url]).netloc}/" in text]
    return next((url for url in urls if kept[url] in text), of_host[0] if len(of_host) == 1 else "")


def _wheel_of(request: Request, text: str) -> str:
    """The direct URL that uv's text is about, if it is about one."""
    return next((root.url for root in request.requirements.roots() if root.url and root.url in text), "")


def _way_out(text: str) -> str:
    if "is missing an upload date" in text:
        return "the index publishes no upload times, so `exclude-newer` excludes all its files: remove `exclude-newer`"
    if "was filtered by `exclude-newer`" in text:
        return "choose a later `exclude-newer`, or change one of the lines above"
    if "does not satisfy Python" in text:
        return "choose another `python`, or change one of the lines above"
    return NO_WAY_OUT


def root_names(request: Request) -> set[str]:
    """The names of the PyPI requirements."""
    return {root.name for root in request.requirements.roots()}
