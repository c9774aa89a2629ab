"""What is asked of the files that uv found: a SHA-256, a hash that is required, and a URL that a lock may name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from envlock.addresses import address, place_of, revealed
from envlock.model.lock import LockedPackage
from envlock.model.url import VARIABLE, host
from envlock.resolve.errors import (
    ARCH,
    IndexHashMismatch,
    NoRequiredHash,
    SecretInLink,
    UnknownHash,
    UnknownUpstream,
)
from envlock.resolve.port import Request
from envlock.resolve.uv_compile import addresses_of
from envlock.resolve.uv_output import Selected

_ALGORITHMS = frozenset({"md5", "sha1", "sha224", "sha384", "sha512"})
"""The hashes that an index may publish instead of SHA-256."""
_FETCHES = 4


def hashed(request: Request, selected: Selected) -> tuple[LockedPackage, ...]:
    """The packages, with the SHA-256 of files whose index publishes none: they are downloaded for it.

    Raises UnknownHash, IndexHashMismatch, and what fetching raises.
    """
    if not selected.published:
        return selected.packages
    unknown = [package for package in selected.packages if package.name in selected.published]
    with ThreadPoolExecutor(_FETCHES) as pool:
        hashed = pool.map(lambda package: _with_sha256(request, package, selected.published[package.name]), unknown)
        by_name = {package.name: package for package in hashed}
    return tuple(by_name.get(package.name, package) for package in selected.packages)


def required_hashes(request: Request) -> Mapping[str, frozenset[str]]:
    """For each package that may only have some hashes, those."""
    found: dict[str, set[str]] = {}
    for name, sha256 in request.requirements.hashes:
        found.setdefault(name, set()).add(sha256)
    return {name: frozenset(each) for name, each in found.items()}


def refuse_other_hashes(request: Request, packages: Iterable[LockedPackage]) -> None:
    """Raise NoRequiredHash for the first package whose file, or the sdist it is built from, has no required hash."""
    required = required_hashes(request)
    for package in packages:
        allowed = required.get(package.name)
        of_source = package.source.sha256 if package.source is not None else ""
        if allowed is None or not allowed.isdisjoint({package.sha256, of_source}):
            continue
        first, *others = sorted(allowed)
        raise NoRequiredHash(
            request.name,
            request.arch,
            f"no file of {package.name} {package.version} for {ARCH} has a hash that is required",
            details=(
                f"required: sha256:{first}" + (f", and {len(others)} more" if others else ""),
                f"found:    sha256:{package.sha256}  {package.filename}",
            ),
            hint=f"require the version that the hashes are of, as `{package.name}==VERSION`, or correct the hashes",
            packages=(f"hash:{package.name}",),
        )


def _with_sha256(request: Request, package: LockedPackage, published: Mapping[str, str]) -> LockedPackage:
    known = {name: digest.lower() for name, digest in published.items() if name in _ALGORITHMS}
    answer = request.file_hashes.digests(package, known) if request.file_hashes is not None and known else None
    where = host(package.url) or package.url
    if answer is None:
        raise UnknownHash(
            request.name,
            request.arch,
            f"{where} publishes no SHA-256 for {package.filename}",
            details=(f"it publishes: {', '.join(published) or 'no hash'}",),
            hint="run `envlock lock` once without `--offline`: it downloads the file and remembers its SHA-256"
            if request.offline
            else "use an index that publishes SHA-256 hashes",
            packages=(package.name,),
        )
    found, size = answer
    for name, digest in known.items():
        if found[name] != digest:
            raise IndexHashMismatch(
                request.name,
                request.arch,
                f"{package.filename} does not have the hash that {where} publishes",
                details=(f"published  {name} {digest}", f"got        {name} {found[name]}"),
                hint="report it to the maintainers of the index; no lock was written",
                packages=(package.name,),
            )
    return replace(package, sha256=found["sha256"], size=size)


def refuse_secrets(request: Request, selected: Selected) -> None:
    """Raise SecretInLink for a URL with the value of a variable of another host: it could not be downloaded."""
    for package in selected.packages:
        if "${" not in package.url:
            continue
        left = re.search(VARIABLE, revealed(package.url, addresses_of(request)))
        if left is not None:
            raise SecretInLink(
                request.name,
                request.arch,
                f"the index of {package.name} links to {host(package.url)}, with the value of "
                f"the environment variable `{left[1]}` in the URL",
                details=(
                    "it may be a secret: envlock writes none into a lock, and sends it only to the index's own host",
                ),
                hint=f"use the secret as a password (https://${{USER}}:${{{left[1]}}}@...), or make the index link to "
                "files on its own host",
                packages=(package.name,),
            )


def refuse_files_of_mirrors(request: Request, packages: Iterable[LockedPackage]) -> None:
    """Raise UnknownUpstream for a file whose URL is still a mirror's: a lock names upstream alone."""
    mirrors = {place_of(place.url): place for url in request.every_index_url if (place := address(url)).mirrors}
    for package in packages if mirrors else ():
        if (host := place_of(package.url)) not in mirrors:
            continue
        place = mirrors[host]
        if any(_is_below(package.url, upstream) for _, upstream in place.mirrors):
            continue
        folder = package.url.rpartition("/")[0]
        raise UnknownUpstream(
            request.name,
            request.arch,
            f"the mirror of {place.kept} has {package.filename} at a URL of its own",
            details=(
                f"found at {folder}/",
                "a lock names where upstream has a file, so that it is the same everywhere",
            ),
            hint="if the mirror keeps upstream's paths, add the folder of the files to `index-mirrors`; otherwise lock "
            "where upstream answers: `envlock push` finds the files of a lock on any mirror",
            packages=(package.name,),
        )


def _is_below(url: str, folder: str) -> bool:
    return url.startswith(f"{folder}/")
