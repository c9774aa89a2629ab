"""Requirements as a table of TOML, in locks and in pins: the document that req_id hashes, what is empty left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envlock.model.arch import Arch
from envlock.model.canonical import Plain
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.model.url import is_channel, is_web, strip_channel_credentials, strip_credentials

if TYPE_CHECKING:
    from envlock.model.conda_requirement import CondaRequirement

REQUIREMENT_KEYS: dict[str, type[str] | type[list[Plain]]] = {
    "python": str,
    "python-from": str,
    "pypi": list,
    "metaflow": list,
    "indexes": list,
    "default-index": str,
    "pip-flags": list,
    "exclude-newer": str,
    "conda": list,
    "conda-only": list,
    "channels": list,
    "system": list,
    "base": str,
}
"""The keys of the table, those of `Requirements.document()`; empty values are left out."""
LATER_KEYS: dict[str, type[str] | type[list[Plain]]] = {"channel-priority": str, "package-indexes": list}
"""Keys that are no part of the document where they are empty."""


def requirements_document(table: Mapping[str, Any]) -> dict[str, Plain]:
    """The document that req_id hashes, from the table.

    Raises ValueError when the table holds something else than that document.
    """
    document: dict[str, Plain] = {}
    for key, kind in REQUIREMENT_KEYS.items():
        value: Any = table.get(key)
        if value is not None and type(value) is not kind:
            raise ValueError(f"requirements.{key} is no {kind.__name__}")
        if type(value) is list and not all(map(_is_row if key == "system" else _is_text, value)):
            raise ValueError(f"requirements.{key} holds something else than texts")
        document[key] = kind() if value is None else value
    for key, later in LATER_KEYS.items():
        if key in table:
            if type(table[key]) is not later or not table[key]:
                raise ValueError(f"requirements.{key} is no {later.__name__}")
            document[key] = table[key]
    if not set(table) <= {*REQUIREMENT_KEYS, *LATER_KEYS}:
        raise ValueError("requirements hold an unknown key")
    return document


def _conda(texts: Sequence[str]) -> tuple[CondaRequirement, ...]:
    if not texts:
        return ()
    from envlock.model.conda_requirement import parse_conda_requirement

    found = tuple(map(parse_conda_requirement, texts))
    if list(map(str, found)) != list(texts):
        raise ValueError("requirements hold a conda package that is written otherwise")
    return found


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_row(value: object) -> bool:
    return type(value) is list and len(value) == 3 and all(map(_is_text, value))


def requirements_from(table: Mapping[str, Any]) -> Requirements:
    """The requirements in the table, held to what envlock.toml may ask.

    Raises KeyError, TypeError, ValueError and ConfigError on other content.
    """
    requirements_document(table)
    indexes = dict(table.get("package-indexes", ()))
    for url in (*table.get("indexes", ()), *indexes.values(), *filter(None, [table.get("default-index", "")])):
        if not is_web(url) or strip_credentials(url) != url:
            raise ValueError(f"requirements name an index that is none: {strip_credentials(url)!r}")
    for channel in table.get("channels", ()):
        if not is_channel(channel) or strip_channel_credentials(channel) != channel:
            raise ValueError(f"requirements name a channel that is none: {strip_channel_credentials(channel)!r}")
    return Requirements(
        python=table.get("python", ""),
        python_from=table["python-from"],
        pypi=tuple(
            parse_requirement(text)._replace(from_index=indexes.get(text, "")) for text in table.get("pypi", ())
        ),
        metaflow=tuple(parse_requirement(text) for text in table.get("metaflow", ())),
        indexes=tuple(table.get("indexes", ())),
        default_index=table.get("default-index", ""),
        pip_flags=tuple(table.get("pip-flags", ())),
        exclude_newer=table.get("exclude-newer", ""),
        conda=_conda(table.get("conda", ())),
        conda_only=_conda(table.get("conda-only", ())),
        channels=tuple(table.get("channels", ())),
        system=tuple((Arch(arch), name, version) for arch, name, version in table.get("system", ())),
        base=table.get("base", ""),
        channel_priority=table.get("channel-priority", ""),
    )
