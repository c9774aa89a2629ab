"""The lock that a changed environment had before: found by who asked for it, else by what it is most like.

No file names an environment's current lock (its requirements do), so after an edit the old lock is one that nothing
asks for any more. It explains what changed, and its pins are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envlock.conda.matching import name_in
from envlock.config.project import Environment
from envlock.model.arch import Arch
from envlock.model.lock import Lock
from envlock.model.requirements import Requirements


def predecessor(environment: Environment, arch: Arch, locks: Sequence[Lock], claimed: Iterable[str]) -> Lock | None:
    """The best of `locks` to start from, or None. `claimed` are req_ids that environments ask for now.

    One that this environment asked for and nobody claims comes first; then any this environment asked for; then the one
    with the most requirements in common, if it has any.
    """
    still_asked = set(claimed)
    asked = _asked(environment.requirements)

    def likeness(lock: Lock) -> tuple[bool, bool, int, str, str]:
        own = environment.name in lock.asked_by
        return (
            own and lock.req_id not in still_asked,
            own,
            len(asked & _asked(lock.requirements)),
            lock.resolved_at,
            lock.full_id,
        )

    best = max((lock for lock in locks if lock.arch == arch), key=likeness, default=None)
    if best is None or not any(likeness(best)[:3]):
        return None
    return best


def _asked(requirements: Requirements) -> set[str]:
    """What is asked, each twice: by its name, and exactly. A conda package is no PyPI package of that name."""
    conda = (*requirements.conda, *requirements.conda_only)
    return {
        *(root.name for root in requirements.pypi),
        *(root.said for root in requirements.pypi),
        *(f"conda:{name_in(text)}" for text in conda),
        *(f"conda:{text}" for text in conda),
    }
