"""Proving a lock file whole without parsing all of it: what makes `check` fast.

Sound because of how the digest is defined (see `document`): a body that hashes to its digest is in canonical spelling,
where each package is one line of known form. Only its small tail is parsed as TOML. Anything else than a full proof is
None, and the caller reads the file the thorough way, which knows how to say what is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import tomli

from envlock.lockfile.document import (
    FORMAT,
    MARKERS,
    STAMP,
    TAIL,
    body_of,
    digest_of,
    filename_of,
    python_from,
    requirements_from,
    requires_python,
)
from envlock.model.arch import Arch
from envlock.model.lock import full_id
from envlock.model.requirements import Requirements

_TEXT = r'"((?:[^"\\])*)"'
_PACKAGE = re.compile(
    rf"    \{{name = {_TEXT}, version = {_TEXT}"
    rf"(?:, dependencies = \[(?:\{{name = {_TEXT}\}}(?:, )?)+\])?"
    rf"(?:, index = {_TEXT})?"
    rf", wheels = \[\{{(?:name = {_TEXT}, )?(?:upload-time = [0-9TZ:.+-]+, )?url = {_TEXT}(?:, size = [0-9]+)?"
    r', hashes = \{sha256 = "([0-9a-f]{64})"\}\}\]\},\n'
)


@dataclass(frozen=True)
class Proof:
    """What a proved lock file is."""

    arch: Arch
    requirements: Requirements
    full_id: str
    urls: tuple[str, ...]


def prove(data: bytes) -> Proof | None:
    """What the file is, when its digest and both ids are right; None when that takes a thorough look.

    Costs about a fifth of a millisecond for 60 packages.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    body = body_of(text)
    tail_start = body.rfind(TAIL)
    stamp_start = text.rfind(STAMP)
    if tail_start < 0 or stamp_start < 0:
        return None
    try:
        table = tomli.loads(body[tail_start:])["tool"]["envlock"]
        stamp = tomli.loads(text[stamp_start:])["tool"]["envlock"]["stamp"]
        if stamp["digest"] != digest_of(body) or table["format"] != FORMAT:
            return None
        requirements = requirements_from(table["requirements"])
        python = python_from(table["python"])
        arch = Arch(table["arch"])
        head = (
            f'lock-version = "1.0"\nenvironments = ["{MARKERS[arch]}"]\n'
            f'requires-python = "{requires_python(python)}"\ncreated-by = "envlock"\n\npackages = [\n'
        )
        if not body.startswith(head):
            return None
        rows, urls = [], []
        position = len(head)
        while match := _PACKAGE.match(body, position):
            name, version, _, _, filename, url, sha256 = match.groups()
            rows.append(("pypi", name, version, "", filename or filename_of(url), sha256))
            urls.append(url)
            position = match.end()
        if body[position : tail_start + 1] != "]\n\n"[: tail_start + 1 - position]:
            return None
        found = full_id(python, rows)
        if table["full-id"] != found or table["req-id"] != requirements.req_id:
            return None
    except (tomli.TOMLDecodeError, KeyError, TypeError, ValueError):
        return None
    return Proof(arch=arch, requirements=requirements, full_id=found, urls=tuple(urls))
