"""How an image in a registry is named, by the grammar of the distribution project's `reference` package.

Docker reads a name without a registry as one of its own registry's. Here the registry is always written, so nobody
pushes to, or builds on, what somebody else published under the same name.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from envlock.image.errors import BadImageReference
from envlock.redaction import shown

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = rf"(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})"
_LONGEST = 255
"""Characters of a repository's name, and of a host."""
_LARGEST_PORT = 65535


class ImageReference(NamedTuple):
    """An image in a registry: by tag, or by digest, which counts where both are given.

    >>> ImageReference.parse("localhost:5000/team/base:1")
    ImageReference(registry='localhost:5000', repository='team/base', tag='1', digest='')
    >>> ImageReference.parse("[::1]:5000/base").tag
    'latest'
    >>> ImageReference.parse(f"registry.example/team/base@sha256:{'0' * 64}").what
    'sha256:0000000000000000000000000000000000000000000000000000000000000000'
    """

    registry: str
    """Host and port, as they are written, in lower case."""
    repository: str
    tag: str
    """Empty only if there is a digest."""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """The image that a text names; the tag `latest` if it names neither tag nor digest. Raises BadImageReference.

        >>> ImageReference.parse("python:3.12")
        Traceback (most recent call last):
        envlock.image.errors.BadImageReference: `python:3.12` names no image: it has no registry before the name
        """
        registry, slash, rest = text.partition("/")
        if not slash or not (set(registry) & {".", ":"} or registry.lower() == "localhost"):
            raise BadImageReference(shown(text), "it has no registry before the name")
        rest, at, digest = rest.partition("@")
        repository, colon, tag = rest.partition(":")
        if not is_registry(registry):
            raise BadImageReference(shown(text), "the registry is no host with or without a port")
        if not re.fullmatch(_REPOSITORY, repository) or len(repository) > _LONGEST:
            reason = "a name is made of lower-case letters, digits, and single `.` `_` `-` between them"
            raise BadImageReference(shown(text), reason)
        if colon and not is_tag(tag):
            raise BadImageReference(shown(text), "a tag is made of at most 128 letters, digits and `_` `.` `-`")
        if at and not is_digest(digest):
            raise BadImageReference(shown(text), "a digest is `sha256:` and 64 hex digits, in lower case")
        return cls(registry.lower(), repository, tag or ("" if at else "latest"), digest)

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def what(self) -> str:
        """What a registry is asked for: the digest, or else the tag."""
        return self.digest or self.tag

    def with_tag(self, tag: str) -> ImageReference:
        """What a tag names in the same repository."""
        return self._replace(tag=tag, digest="")

    def with_digest(self, digest: str) -> ImageReference:
        """What a digest names in the same repository, under the same tag."""
        return self._replace(digest=digest)

    def __str__(self) -> str:
        """As it is written.

        >>> str(ImageReference("registry.example", "team/base", "1").with_digest("sha256:..."))
        'registry.example/team/base:1@sha256:...'
        """
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def is_registry(text: str) -> bool:
    """Whether it is a host, with or without a port.

    >>> is_registry("registry.example"), is_registry("127.0.0.1:5000"), is_registry("[::1]:5000"), is_registry("a:b")
    (True, True, True, False)
    """
    match = re.fullmatch(_REGISTRY, text)
    if match is None or len(text) > _LONGEST:
        return False
    if match["host"].startswith("["):
        try:
            IPv6Address(match["host"][1:-1])
        except ValueError:
            return False
    return 0 < int(match["port"] or 443) <= _LARGEST_PORT


def is_tag(text: str) -> bool:
    """Whether it is a tag."""
    return re.fullmatch(_TAG, text) is not None


def is_digest(text: str) -> bool:
    """Whether it is a digest that can be verified here."""
    return re.fullmatch(_DIGEST, text) is not None


def is_loopback(host: str) -> bool:
    """Whether a host, without its port, is this machine itself.

    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("[::1]"), is_loopback("registry.example")
    (True, True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
