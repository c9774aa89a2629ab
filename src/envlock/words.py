"""Words that messages are made of: so many things, so many bytes, lists, short ids, near names."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def did(verb: str, *, dry_run: bool) -> str:
    """What was done, or in a dry run what would be.

    >>> did("wrote", dry_run=False), did("wrote", dry_run=True), did("locked", dry_run=True)
    ('wrote', 'would write', 'would lock')
    """
    return f"would {_VERBS.get(verb) or verb.removesuffix('ed')}" if dry_run else verb


_VERBS = {
    "wrote": "write",
    "gave": "give",
    "removed": "remove",
    "replaced": "replace",
    "moved": "move",
    "pinned": "pin",
    "re-stamped": "re-stamp",
    "settled": "settle",
    "merged": "merge",
    "deleted": "delete",
}


def count(number: int, noun: str, nouns: str = "") -> str:
    """So many things; `nouns` is the plural where it is not the noun with an `s`.

    >>> count(1, "lock"), count(2, "lock"), count(0, "push", "pushes")
    ('1 lock', '2 locks', '0 pushes')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {nouns or noun + 's'}"


def count_between(numbers: Iterable[int], noun: str) -> str:
    """How many things several have, each of them: of the fewest and the most.

    >>> count_between([1], "package"), count_between([60, 58, 58], "package")
    ('1 package', '58-60 packages')
    """
    ordered = sorted(numbers)
    least, most = ordered[0], ordered[-1]
    return count(most, noun) if least == most else f"{least}-{most} {noun}s"


def byte_size(number: int) -> str:
    """So many bytes, in the unit that fits.

    >>> byte_size(999), byte_size(1_500_000)
    ('999 bytes', '1.5 MB')
    """
    if number < 1000:
        return count(number, "byte")
    amount = number / 1000
    for unit in ("kB", "MB"):
        if amount < 1000:
            return f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def listed(items: Iterable[str], word: str = "and") -> str:
    """The items in a sentence.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"], "or")
    ('a', 'a and b', 'a, b or c')
    """
    *first, last = items
    return f"{', '.join(first)} {word} {last}" if first else last


def first_of(items: Sequence[str], most: int) -> str:
    """The first few items, and how many more there are.

    >>> first_of(["a", "b"], 2), first_of(["a", "b", "c", "d"], 2)
    ('a, b', 'a, b and 2 more')
    """
    hidden = len(items) - most
    return ", ".join(items[:most]) + (f" and {hidden} more" if hidden > 0 else "")


def short_paths(paths: Iterable[str]) -> list[str]:
    """Paths of locks as sentences show them: with the first digits of ids.

    >>> short_paths([f"envlock.lock/linux-64/{'1' * 40}/pylock.{'2' * 40}.toml"])
    ['envlock.lock/linux-64/1111…/pylock.2222….toml']
    """
    import re

    return [re.sub(r"(?<![0-9a-f])([0-9a-f]{4})[0-9a-f]{36}(?![0-9a-f])", r"\1…", path) for path in paths]


def limits_in_order(requirement: str) -> str:
    """A requirement, or its limits alone, with the lower limits first, as people write them. Ids have them sorted.

    >>> limits_in_order("[a,b]<3,>=2 ; os_name == 'nt'"), limits_in_order("@ https://x.example/a,b.whl")
    ("[a,b]>=2,<3 ; os_name == 'nt'", '@ https://x.example/a,b.whl')
    >>> limits_in_order("pandas[sql]<3,>=2"), limits_in_order("numpy <2,>=1.26"), limits_in_order("numpy <2,>=1 *_0")
    ('pandas[sql]>=2,<3', 'numpy >=1.26,<2', 'numpy <2,>=1 *_0')
    """
    before, semicolon, marker = requirement.partition(" ;")
    name, extras, limits = before.rpartition("]")
    head = f"{name}{extras}"
    if not extras:
        limits = before.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/- ")
        head = before[: len(before) - len(limits)]
    if "," not in limits or not set(limits).isdisjoint("@| ("):
        return requirement
    ordered = sorted(limits.split(","), key=lambda each: each.startswith(("<", "!")))
    return f"{head}{','.join(ordered)}{semicolon}{marker}"


def short_ids(identity: str) -> str:
    """A req_id, a full_id, or both, as tables show them; commands take them like that.

    >>> short_ids(f"{'1' * 40}:{'2' * 40}")
    '111111111111:222222222222'
    """
    return ":".join(each[:12] for each in identity.split(":"))


def short_hashes(text: str) -> str:
    """A text with its ids and hashes as tables show them: their first twelve digits.

    >>> short_hashes(f"packages/{'ab' * 32}/demo-1.0.whl, {'1' * 40}:{'2' * 40} on linux-64")
    'packages/abababababab/demo-1.0.whl, 111111111111:222222222222 on linux-64'
    """
    import re

    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1", text)


def did_you_mean(found: str, right: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The hint that names the right word most like `found`; None where no word is like it.

    >>> did_you_mean("cond", ["conda", "pypi"]), did_you_mean("x", ["conda", "pypi"])
    ('did you mean `conda`?', None)
    """
    alike = nearest(found, right, cutoff)
    return f"did you mean `{alike}`?" if alike else None


def nearest(found: str, right: Sequence[str], cutoff: float = 0.6) -> str:
    """The right word most like `found`; empty where none is as like it as `cutoff` says, from 0 to 1."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(found, right, n=1, cutoff=cutoff)), "")
