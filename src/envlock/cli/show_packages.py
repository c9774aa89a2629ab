"""The packages of a lock as `envlock show` lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from envlock.errors import one_line
from envlock.words import byte_size

if TYPE_CHECKING:
    from rich.console import RenderableType

    from envlock.model.lock import Lock, LockedPackage

_NEEDERS = 3


def package_lines(lock: Lock) -> str:
    """The packages, one a line: first those of conda, with build, channel, size and why each is there."""
    parts = []
    if lock.conda_packages:
        parts.append(f"Conda packages ({_totals(lock.conda_packages)})\n{_aligned(_rows(lock))}")
    if lock.pypi_packages or not parts:
        parts.append("\n".join([_pypi_title(lock), *(f"  {_pinned(package)}" for package in lock.pypi_packages)]))
    return "\n".join(parts)


def package_renderables(lock: Lock) -> list[RenderableType]:
    """The same for a terminal: conda packages in a table, the others in columns."""
    from rich.columns import Columns
    from rich.padding import Padding
    from rich.table import Table

    shown: list[RenderableType] = []
    if lock.conda_packages:
        table = Table.grid(padding=(0, 2))
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(no_wrap=True, justify="right")
        table.add_column(style="dim")
        for row in _rows(lock):
            table.add_row(*map(one_line, row))
        shown += [f"Conda packages ({_totals(lock.conda_packages)})", Padding(table, (0, 0, 0, 2))]
    if lock.pypi_packages or not shown:
        names = [_pinned(package) for package in lock.pypi_packages]
        columns = Columns(names, equal=True, column_first=True, padding=(0, 3))
        shown += [_pypi_title(lock), Padding(columns, (0, 0, 0, 2))]
    return shown


def package_documents(lock: Lock) -> list[dict[str, object]]:
    """The packages, for machines."""
    from envlock.lockfile.graph import ASKED, FOR_METAFLOW, reasons_of

    why = reasons_of(lock)
    documents = []
    for package in lock.packages:
        reasons = why[package.kind, package.name]
        document: dict[str, object] = {
            "name": package.name,
            "version": package.version,
            "kind": package.kind,
            "filename": package.filename,
            "sha256": package.sha256,
            "size": package.size,
            "asked_for": ASKED in reasons,
            "for_metaflow": FOR_METAFLOW in reasons,
            "needed_by": [reason for reason in reasons if reason not in {ASKED, FOR_METAFLOW}],
            "dependencies": list(package.dependencies),
        }
        if package.conda is not None:
            document |= {
                "build": package.build,
                "channel": package.conda.channel,
                "subdir": package.conda.subdir,
                "license": package.conda.license or None,
                "provides": dict(package.conda.provides),
            }
        documents.append(document)
    return documents


def totals_document(lock: Lock) -> dict[str, dict[str, int]]:
    """How many packages there are of each kind, and their bytes as far as the lock knows them."""
    return {
        kind: {"packages": len(packages), "bytes": sum(package.size or 0 for package in packages)}
        for kind, packages in (("conda", lock.conda_packages), ("pypi", lock.pypi_packages))
    }


def provided(lock: Lock) -> Mapping[str, str]:
    """The PyPI distributions that the conda packages bring, with their versions."""
    return {name: version for each in lock.conda_packages if each.conda for name, version in each.conda.provides}


def _rows(lock: Lock) -> list[tuple[str, ...]]:
    from envlock.lockfile.graph import reasons_of

    why = reasons_of(lock)
    channels = _short_channels(lock)
    return [
        (
            package.name,
            package.version,
            package.build,
            channels[package.conda.channel] if package.conda else "",
            _size(package.size),
            _reasons(why[package.kind, package.name]),
        )
        for package in lock.conda_packages
    ]


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        # Sizes end at the same column; all else begins there.
        cells = [
            cell.rjust(widths[at]) if at == len(row) - 2 else cell.ljust(widths[at]) for at, cell in enumerate(row)
        ]
        lines.append("  " + one_line("  ".join(cells).rstrip()))
    return "\n".join(lines)


def _short_channels(lock: Lock) -> dict[str, str]:
    """Each channel's last word, where that is no other one's too; else all of it."""
    channels = {package.conda.channel for package in lock.conda_packages if package.conda}
    words = Counter(channel.rpartition("/")[2] for channel in channels)
    return {
        channel: word if word and words[word] == 1 and "://" not in word else channel
        for channel in channels
        for word in [channel.rpartition("/")[2]]
    }


def _reasons(why: Sequence[str]) -> str:
    from envlock.lockfile.graph import ASKED, FOR_METAFLOW

    roots = [reason for reason in why if reason in {ASKED, FOR_METAFLOW}]
    names = [reason for reason in why if reason not in roots]
    more = f" and {len(names) - _NEEDERS} more" if len(names) > _NEEDERS else ""
    needed = [f"needed by {', '.join(names[:_NEEDERS])}{more}"] if names else []
    return ", ".join([*roots, *needed])


def _totals(packages: Sequence[LockedPackage]) -> str:
    known = sum(package.size or 0 for package in packages)
    return f"{len(packages)}, {_size(known)}" if known else str(len(packages))


def _size(count: int | None) -> str:
    return "" if count is None else byte_size(count)


def _pypi_title(lock: Lock) -> str:
    title = "PyPI packages" if lock.conda_packages else "Packages"
    return f"{title} ({_totals(lock.pypi_packages)})"


def _pinned(package: LockedPackage) -> str:
    return f"{package.name}=={package.version}"
