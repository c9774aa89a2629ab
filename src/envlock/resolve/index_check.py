"""Requests to an index itself: whether it exists, and what it says of a package's files.

One that is not there answers as one that lacks a package does, with 404.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from urllib.parse import SplitResult, urljoin, urlsplit

from envlock.addresses import address
from envlock.certificates import trusted
from envlock.credentials import credentials_for
from envlock.files import json_of
from envlock.lockfile.canonical_text import filename_of
from envlock.model.lock import LockedPackage
from envlock.model.url import strip_credentials
from envlock.reporter import asking
from envlock.resolve.errors import IndexNotFound, IndexUnauthorized, IndexUnreachable
from envlock.resolve.port import Request
from envlock.values import NamedTuple

_JSON = "application/vnd.pypi.simple.v1+json"
_DEADLINE = 60.0
_LARGEST = 64 << 20
"""Bytes of a page: ten times the largest known one."""
_AGAIN = "check the network and the index URL, then run the command again"


def missing_index(request: Request) -> str | None:
    """The first of the request's own indexes that does not exist (404 at its root), or None. Pages of links are none.

    One HTTP request an index; only ever asked on the way to an error message.
    """
    if request.offline:
        return None
    indexes = (url for url in request.every_index_url if url not in request.find_links_urls)
    return next((url for _, url in _missing(indexes)), None)


def refuse_missing_index(request: Request, packages: Iterable[LockedPackage]) -> None:
    """Refuse an extra index that gave no package because it does not exist.

    A misspelt URL of a private index would else go unseen, and the next index be asked for what only that one has. One
    HTTP request an index, and none while every index has given something, or offline. Raises IndexNotFound.
    """
    if request.offline:
        return
    used = {package.index.rstrip("/") for package in packages}
    unused = [url for url in request.index_urls if address(url).kept.rstrip("/") not in used]
    for written, url in _missing(unused):
        raise IndexNotFound(
            request.name,
            request.arch,
            f"there is no package index at {url}",
            details=("it provided no package, and its packages could be taken from another index instead",),
            hint="fix the URL there, or remove it",
            packages=(strip_credentials(written),),
        )


def silent(urls: Iterable[str], *, seconds: float) -> tuple[str, ...]:
    """The indexes, without credentials, whose host does not accept a connection within `seconds`.

    Only a connection is tried, all at once. A host that a proxy stands before is taken to answer.
    """
    places: dict[tuple[str, int], str] = {}
    for url in urls:
        parts = urlsplit(address(url).url)
        if parts.scheme in {"http", "https"} and parts.hostname and not _has_proxy(parts):
            places[parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)] = strip_credentials(url)
    answering: set[tuple[str, int]] = set()
    threads: list[threading.Thread] = []

    def begin(work: Callable[..., None], *arguments: object) -> None:
        # A daemon, for looking up a name has no limit of its own.
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        threads.append(thread)
        thread.start()

    def look(place: tuple[str, int]) -> None:
        with suppress(OSError):
            # All at once: one that is of no use, as IPv6 often is, must not take the time of the others.
            for *_, found in socket.getaddrinfo(*place, type=socket.SOCK_STREAM):
                begin(connect, place, found[:2])

    def connect(place: tuple[str, int], found: tuple[str, int]) -> None:
        with suppress(OSError), socket.create_connection(found, timeout=seconds):
            answering.add(place)

    end = time.monotonic() + seconds
    for place in places:
        begin(look, place)
    while len(answering) < len(places) and time.monotonic() < end and any(map(threading.Thread.is_alive, threads)):
        time.sleep(0.02)
    return tuple(url for place, url in places.items() if place not in answering)


def _has_proxy(parts: SplitResult) -> bool:
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.hostname or "")


def _missing(urls: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The URLs where there is no index: as written, and as locks name them."""
    for written in urls:
        import httpx  # which nobody waits for where each index gave something

        place = address(written)
        url = place.url
        root = place.asked.rstrip("/") + "/"
        try:
            # Only the status is read: the root page of a large index is tens of megabytes.
            with (
                asking("GET", root) as told,
                httpx.stream(
                    "GET", root, auth=credentials_for(url), follow_redirects=True, timeout=10, verify=trusted()
                ) as answer,
            ):
                status = answer.status_code
                told.ended(status)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
            continue
        if status == httpx.codes.NOT_FOUND:
            yield written, place.shown


class FileFacts(NamedTuple):
    """What an index says of a file."""

    yanked: str | None = None
    """Why it was yanked (PEP 592), which may be for no reason; None if it was not."""
    requires_python: str = ""
    """The Pythons that it is for, a specifier set (PEP 503)."""
    uploaded: str = ""
    """When, as RFC 3339; empty if the index does not say (PEP 700)."""
    link: str = ""
    """Where it is, as the page says it: a URL, or a path from the page."""


def files_of(written: str, name: str, environment: str, arch: str, *, is_page: bool = False) -> dict[str, FileFacts]:
    """The files of a package on an index, by name.

    `written` is the index as envlock.toml has it, or a page of links (`is_page`), which has those of many packages.
    None at all where the index has no such package. One request. Raises IndexUnauthorized, IndexUnreachable.
    """
    return _page(written, name, environment, arch, is_page=is_page)[0]


def links_of(written: str, name: str, environment: str, arch: str) -> dict[str, str]:
    """The files of a package on an index, each with the URL that the index has for it. Raises as `files_of`."""
    files, page = _page(written, name, environment, arch, is_page=False)
    return {filename: urljoin(page, facts.link).partition("#")[0] for filename, facts in files.items()}


def _page(written: str, name: str, environment: str, arch: str, *, is_page: bool) -> tuple[dict[str, FileFacts], str]:
    """The files on the page of a package, and the URL of the page."""
    import httpx

    place = address(written)
    page = place.asked if is_page else f"{place.asked.rstrip('/')}/{name}/"
    body, kind, url = b"", "", page
    try:
        with (
            asking("GET", page) as told,
            httpx.stream(
                "GET",
                page,
                auth=credentials_for(place.url),
                follow_redirects=True,
                timeout=10,
                headers={"Accept": f"{_JSON}, text/html;q=0.2"},
                verify=trusted(),
            ) as answer,
        ):
            status, kind, url = answer.status_code, answer.headers.get("Content-Type", ""), str(answer.url)
            told.ended(status)
            end = time.monotonic() + _DEADLINE
            for piece in answer.iter_bytes() if status == httpx.codes.OK else ():
                body += piece
                if len(body) > _LARGEST or time.monotonic() > end:
                    raise IndexUnreachable(
                        environment, arch, f"{place.shown} sends a page that does not end", hint=_AGAIN
                    )
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        why = type(error).__name__
        raise IndexUnreachable(
            environment, arch, f"{place.shown} did not answer", details=(why,), hint=_AGAIN
        ) from None
    if status == httpx.codes.NOT_FOUND:
        return {}, url
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        hint = "add credentials to ~/.netrc, or to the URL as `${VARIABLE}`s"
        raise IndexUnauthorized(
            environment, arch, f"{place.shown} denied access: the credentials are missing or wrong", hint=hint
        )
    if status == httpx.codes.OK:
        try:
            return files_in(body, kind), url
        except ValueError:
            status = 0
    said = f"status {status}" if status else "it is not a page of a package index"
    raise IndexUnreachable(environment, arch, f"{place.shown} sent no page for {name}", details=(said,), hint=_AGAIN)


def files_in(body: bytes, kind: str) -> dict[str, FileFacts]:
    """The files on a page of an index. Raises ValueError."""
    try:
        return _in_json(body) if "json" in kind else _in_html(body)
    except (KeyError, TypeError, AttributeError, AssertionError) as error:  # the last is of Python's own parser
        raise ValueError(str(error)) from None


def _in_json(body: bytes) -> dict[str, FileFacts]:
    found: dict[str, FileFacts] = {}
    for file in json_of(body)["files"]:
        yanked = file.get("yanked", False)
        found[str(file["filename"])] = FileFacts(
            None if yanked is False else yanked if isinstance(yanked, str) else "",
            str(file.get("requires-python") or ""),
            str(file.get("upload-time") or ""),
            str(file.get("url") or ""),
        )
    return found


def _in_html(body: bytes) -> dict[str, FileFacts]:
    from html.parser import HTMLParser

    found: dict[str, FileFacts] = {}

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            given = dict(attributes)
            if tag == "a" and given.get("href"):
                link = str(given["href"])
                name = filename_of(link.partition("#")[0].partition("?")[0])
                yanked = (given["data-yanked"] or "") if "data-yanked" in given else None
                found[name] = FileFacts(yanked, given.get("data-requires-python") or "", link=link)

    Links().feed(body.decode("utf-8", "replace"))
    return found
