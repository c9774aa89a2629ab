"""The pages of an index: PEP 503 (HTML) and PEP 691 (JSON)."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

from tests.index.recipe import Artifact

JSON_PAGE = "application/vnd.pypi.simple.v1+json"
HTML_PAGE = "text/html"


@dataclass(frozen=True)
class Link:
    """A file, as a page names it."""

    artifact: Artifact
    url: str
    has_metadata: bool
    hashes: tuple[str, ...] = ("sha256",)
    """The algorithms whose digests are told of the file."""

    @property
    def digests(self) -> dict[str, str]:
        """The file's digests, by algorithm."""
        return {name: hashlib.new(name, self.artifact.data).hexdigest() for name in self.hashes}

    @property
    def metadata_sha256(self) -> str:
        """Of what lies at the URL with `.metadata`."""
        return hashlib.sha256(self.artifact.release.served_metadata).hexdigest()


def root_page(names: Sequence[str], *, as_json: bool) -> bytes:
    """The page that names every package."""
    if as_json:
        return json.dumps({"meta": {"api-version": "1.1"}, "projects": [{"name": name} for name in names]}).encode()
    links = "".join(f'<a href="{name}/">{name}</a><br/>\n' for name in names)
    return f"<!DOCTYPE html><html><body>\n{links}</body></html>\n".encode()


def package_page(name: str, links: Sequence[Link], *, as_json: bool) -> bytes:
    """The page that names every file of a package."""
    if as_json:
        versions = list(dict.fromkeys(link.artifact.release.version for link in links))
        files = [_as_json(link) for link in links]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "versions": versions, "files": files}).encode()
    body = "".join(_as_html(link) for link in links)
    return f"<!DOCTYPE html><html><head><title>{name}</title></head><body>\n{body}</body></html>\n".encode()


def _as_json(link: Link) -> dict[str, object]:
    release = link.artifact.release
    file: dict[str, object] = {
        "filename": link.artifact.filename,
        "url": link.url,
        "hashes": link.digests,
        "size": len(link.artifact.data),
        "upload-time": release.uploaded,
        "yanked": False if release.yanked is None else release.yanked,
    }
    if release.requires_python:
        file["requires-python"] = release.requires_python
    if link.has_metadata:
        file["core-metadata"] = {"sha256": link.metadata_sha256}
    return file


def _as_html(link: Link) -> str:
    release = link.artifact.release
    fragment = "".join(f"#{name}={digest}" for name, digest in list(link.digests.items())[:1])
    attributes = {"href": f"{link.url}{fragment}"}
    if release.requires_python:
        attributes["data-requires-python"] = release.requires_python
    if release.yanked is not None:
        attributes["data-yanked"] = release.yanked
    if link.has_metadata:
        attributes["data-core-metadata"] = f"sha256={link.metadata_sha256}"
    written = " ".join(f'{key}="{html.escape(value)}"' for key, value in attributes.items())
    return f"<a {written}>{link.artifact.filename}</a><br/>\n"
