"""One environment as `envlock show` prints it, as text and for `--json`: its facts, then its packages."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from envlock.cli.console import aligned
from envlock.errors import one_line
from envlock.words import byte_size, first_of, short_hashes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from envlock.model.lock import Lock, LockedPackage
    from envlock.model.requirements import Requirements
    from envlock.workflow.show import Description, Disabled

_NEEDERS = 3


def text(shown: Description | Disabled) -> str:
    """One environment in full: its facts, then its packages, one a line."""
    from envlock.workflow.show import Disabled

    return head(shown) if isinstance(shown, Disabled) else f"{head(shown)}\n{package_lines(shown.lock)}"


def pretty(shown: Description | Disabled) -> list[RenderableType]:
    """The same, for a terminal."""
    from rich.text import Text

    from envlock.workflow.show import Disabled

    if isinstance(shown, Disabled):
        return [head(shown)]
    bold = Text(head(shown))
    bold.highlight_regex(r"(?m)^  [A-Z][a-zA-Z_ ]*?(?=  )", "bold")
    return [bold, *package_renderables(shown.lock)]


def head(shown: Description | Disabled) -> str:
    """The facts of an environment, without its packages."""
    from envlock.workflow.show import Disabled

    if isinstance(shown, Disabled):
        disabled = f"{shown.name} is disabled: it runs in the interpreter that starts the flow"
        return f"{one_line(disabled)}\n  at {one_line(str(shown.location))}"
    lock = shown.lock
    facts = [(label, value) for label, value in _facts(shown) if value]
    width = max(len(label) for label, _ in facts)
    lines = [f"Environment of type {lock.requirements.type}, {lock.identity}"]
    lines += [f"  {label:<{width}}  {value}" for label, value in facts]
    return "\n".join(lines)


def _facts(shown: Description) -> list[tuple[str, str]]:
    lock = shown.lock
    requirements = lock.requirements
    has_pypi = bool(requirements.roots() or lock.pypi_packages or not requirements.has_conda)
    facts = [
        ("Name", _name(shown)),
        ("Ran as", shown.task),
        ("Used by", ", ".join(shown.used_by) or f"nothing here (locked for {', '.join(lock.asked_by)})"),
        ("Arch", lock.arch),
        ("Available on", ", ".join(shown.available_on) or "no arch of this project"),
        ("Resolved", f"{lock.resolved_at} by {lock.resolved_by}"),
        ("Locally present as", str(shown.prefix) if shown.prefix else "not on this machine"),
        ("Lock", shown.place),
        ("Python", _python(lock)),
        ("Requested", _requested(requirements)),
        ("For Metaflow", ", ".join(str(each) for each in requirements.metaflow) or "nothing"),
        (
            "Sources",
            ", ".join(_indexes(requirements)) if has_pypi else "",
        ),
        ("Channels", _channels(requirements)),
        ("Not newer than", lock.exclude_newer),
        ("Links", short_hashes(", ".join(requirements.find_links))),
        ("Extra flags", ", ".join(requirements.pip_flags)),
        ("Constraints", ", ".join(map(str, requirements.constraints))),
        ("Overrides", ", ".join(map(str, requirements.overrides))),
        ("Hashes of", ", ".join(dict.fromkeys(name for name, _ in requirements.hashes))),
        ("Variables", ", ".join(f"{name}={value}" for name, value in requirements.variables)),
        ("System", ", ".join(_system(lock))),
        ("Conda provides", ", ".join(f"{name} {version}" for name, version in sorted(provided(lock).items()))),
        ("Extends", requirements.base),
        ("Netflix req_id", shown.netflix_id),
    ]
    return [(what, one_line(said)) for what, said in facts]


def _name(shown: Description) -> str:
    if shown.alias is None:
        return ""
    record = shown.alias
    at = f"{record.alias} (move {record.sequence})" if record.alias.moves else str(record.alias)
    why = f": {record.why}" if record.why else ""
    return one_line(f"{at}, given {record.when} by {record.who} from {record.source}{why}")


def _requested(requirements: Requirements) -> str:
    pypi = ", ".join(each.said for each in requirements.pypi)
    conda = ", ".join(map(str, requirements.all_conda))
    if not conda:
        return pypi or "nothing"
    return f"conda: {conda}" + (f"; PyPI: {pypi}" if pypi else "")


def _indexes(requirements: Requirements) -> tuple[str, ...]:
    if "no-index" in requirements.pip_flags:
        return ("no index",)
    return (*requirements.indexes, requirements.default_index or "the default index")


def _channels(requirements: Requirements) -> str:
    if not requirements.has_conda:
        return ""
    priority = " (without priority)" if requirements.channel_priority == "disabled" else ""
    return ", ".join(requirements.channels) + priority


def _system(lock: Lock) -> list[str]:
    """The system packages that the machine must have, without those that every conda environment needs."""
    from envlock.config.system_packages import CONDA_DEFAULT_SYSTEM

    usual = CONDA_DEFAULT_SYSTEM[lock.arch].items()
    rows = [(name, version) for arch, name, version in lock.requirements.system if arch == lock.arch]
    return [f"{name} {version}" for name, version in rows if (name, version) not in usual]


def _python(lock: Lock) -> str:
    requested = f"requested: {lock.requirements.python or 'any'}"
    if lock.python.source == "machine":
        return f"{lock.python.series} of this machine, {lock.python.version} or later ({requested})"
    if lock.python.source == "conda":
        return f"CPython {lock.python.version} from conda ({requested})"
    return f"{lock.python.version}, the build {lock.python.filename} ({requested})"


def document(shown: Description | Disabled) -> dict[str, object]:
    """One environment in full, for `--json`."""
    from envlock.cli.alias_history import record_document
    from envlock.workflow.show import Disabled

    if isinstance(shown, Disabled):
        return {"disabled": True, "used_by": [shown.name]}
    lock = shown.lock
    requirements = lock.requirements
    return {
        "disabled": False,
        "type": requirements.type,
        "req_id": lock.req_id,
        "full_id": lock.full_id,
        "identity": lock.identity,
        "netflix_req_id": shown.netflix_id,
        "task": shown.task or None,
        "alias": record_document(shown.alias) if shown.alias else None,
        "used_by": list(shown.used_by),
        "asked_by": list(lock.asked_by),
        "arch": lock.arch,
        "available_on": list(shown.available_on),
        "resolved_on": lock.resolved_at,
        "resolved_by": lock.resolved_by,
        "locally_present_as": str(shown.prefix) if shown.prefix else None,
        "lock": shown.place,
        "python": {
            "requested": requirements.python or None,
            "source": lock.python.source,
            "version": lock.python.version,
            "series": lock.python.series,
            "filename": lock.python.filename or None,
        },
        "requested_packages": {
            "pypi": [str(each) for each in requirements.pypi],
            "metaflow": [str(each) for each in requirements.metaflow],
            "conda": [str(each) for each in requirements.conda],
            "conda_only": [str(each) for each in requirements.conda_only],
        },
        "constraints": [str(each) for each in requirements.constraints],
        "overrides": [str(each) for each in requirements.overrides],
        "hashes": {name: [each for of, each in requirements.hashes if of == name] for name, _ in requirements.hashes},
        "variables": dict(requirements.variables),
        "sources": {
            "indexes": list(requirements.indexes),
            "default_index": requirements.default_index or None,
            "find_links": list(requirements.find_links),
            "package_indexes": {str(each): each.from_index for each in requirements.pypi if each.from_index},
            "channels": list(requirements.channels),
        },
        "channel_priority": (requirements.channel_priority or "strict") if requirements.has_conda else None,
        "extra_flags": list(requirements.pip_flags),
        "exclude_newer": lock.exclude_newer or None,
        "system_requirements": {name: version for arch, name, version in requirements.system if arch == lock.arch},
        "extends": requirements.base or None,
        "provided_by_conda": dict(sorted(provided(lock).items())),
        "totals": totals_document(lock),
        "packages": package_documents(lock),
    }


def package_lines(lock: Lock) -> str:
    """The packages, one a line: first those of conda, with build, channel, size and why each is there."""
    parts = []
    if lock.conda_packages:
        rows = aligned(_rows(lock), right={_SIZE})
        table = "\n".join("  ".join(("", *row)).rstrip() for row in rows)
        parts.append(f"Conda packages ({_totals(lock.conda_packages)})\n{table}")
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
    """The packages, for `--json`."""
    from envlock.lockfile.graph import FOR_METAFLOW, REQUIRED, reasons_of

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
            "asked_for": REQUIRED in reasons,
            "for_metaflow": FOR_METAFLOW in reasons,
            "needed_by": [reason for reason in reasons if reason not in {REQUIRED, FOR_METAFLOW}],
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
        if package.source is not None:
            document["source"] = {
                key: value or None for key, value in vars(package.source).items() if key != "requires"
            }
            document["built_with"] = list(package.source.requires)
        documents.append(document)
    return documents


def totals_document(lock: Lock) -> dict[str, dict[str, int]]:
    """How many packages there are of each kind, and their bytes as far as the lock knows them."""
    return {
        kind: {"packages": len(packages), "bytes": sum(package.size or 0 for package in packages)}
        for kind, packages in (("conda", lock.conda_packages), ("pypi", lock.pypi_packages))
    }


def provided(lock: Lock) -> Mapping[str, str]:
    """The PyPI distributions that the conda packages contain, with their versions."""
    return {name: version for each in lock.conda_packages if each.conda for name, version in each.conda.provides}


_SIZE = 4
"""The column of sizes in a row."""


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


def _short_channels(lock: Lock) -> dict[str, str]:
    """Each channel's last word if no other channel has the same; else the whole channel."""
    channels = {package.conda.channel for package in lock.conda_packages if package.conda}
    words = Counter(channel.rpartition("/")[2] for channel in channels)
    return {
        channel: word if word and words[word] == 1 and "://" not in word else channel
        for channel in channels
        for word in [channel.rpartition("/")[2]]
    }


def _reasons(why: Sequence[str]) -> str:
    from envlock.lockfile.graph import FOR_METAFLOW, REQUIRED

    roots = [reason for reason in why if reason in {REQUIRED, FOR_METAFLOW}]
    names = [reason for reason in why if reason not in roots]
    needed = [f"needed by {first_of(names, _NEEDERS)}"] if names else []
    return ", ".join([*roots, *needed])


def _totals(packages: Sequence[LockedPackage]) -> str:
    known = sum(package.size or 0 for package in packages)
    return f"{len(packages)}, {_size(known)}" if known else str(len(packages))


def _size(number: int | None) -> str:
    return "" if number is None else byte_size(number)


def _pypi_title(lock: Lock) -> str:
    title = "PyPI packages" if lock.conda_packages else "Packages"
    return f"{title} ({_totals(lock.pypi_packages)})"


def _pinned(package: LockedPackage) -> str:
    pinned = f"{package.name}=={package.version}"
    return f"{pinned} (from {package.source.said})" if package.source is not None else pinned
