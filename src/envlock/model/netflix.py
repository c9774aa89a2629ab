"""The reference implementation's req_id, for people who come from there and want to find their environments.

Its canonical form is ambiguous and its hash is SHA-1, so envlock's own ids are others; this one is only ever shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence


def netflix_req_id(
    dependencies: Mapping[str, Sequence[str]],
    sources: Mapping[str, Sequence[str]],
    extras: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The 40 hex digits under which metaflow-netflixext 1.3 files these requirements.

    Keys are its categories (`conda`, `npconda`, `pypi`, `sys`), values its strings: `name`, or `name==<constraint>`.

    >>> netflix_req_id(
    ...     {"conda": ["python==3.10.*"], "pypi": ["numpy==1.26.4"]}, {"conda": ["conda-forge"]}
    ... )
    '06da9dbba01fb75014f7478be05711377e74d674'
    """
    items = [
        f"{category}::{item}"
        for group in (dependencies, sources, extras or {})
        for category in sorted(group)
        for item in sorted(group[category])
    ]
    return hashlib.sha1(" ".join(items).encode("ascii"), usedforsecurity=False).hexdigest()
