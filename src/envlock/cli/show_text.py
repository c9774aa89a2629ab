"""What `envlock show` prints of one environment, for people and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.errors import one_line

if TYPE_CHECKING:
    from envlock.model.lock import Lock
    from envlock.model.requirements import Requirements
    from envlock.workflow.show import Description, Disabled


def text(shown: Description | Disabled) -> str:
    """One environment in full: its facts, then its packages, one a line."""
    from envlock.cli.show_packages import package_lines
    from envlock.workflow.show import Disabled

    return head(shown) if isinstance(shown, Disabled) else f"{head(shown)}\n{package_lines(shown.lock)}"


def head(shown: Description | Disabled) -> str:
    """What there is to tell of an environment, but for its packages."""
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
    from envlock.cli.show_packages import provided

    lock = shown.lock
    asked = lock.requirements
    asks_pypi = bool(asked.roots() or lock.pypi_packages or not asked.has_conda)
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
        ("Requested", _requested(asked)),
        ("For Metaflow", ", ".join(str(each) for each in asked.metaflow) or "nothing"),
        ("Sources", ", ".join((*asked.indexes, asked.default_index or "the default index")) if asks_pypi else ""),
        ("Channels", _channels(asked)),
        ("Not newer than", lock.exclude_newer),
        ("Extra flags", ", ".join(asked.pip_flags)),
        ("System", ", ".join(_system(lock))),
        ("Conda provides", ", ".join(f"{name} {version}" for name, version in sorted(provided(lock).items()))),
        ("Extends", asked.base),
        ("Netflix req_id", shown.reference_id),
    ]
    return [(what, one_line(said)) for what, said in facts]


def _name(shown: Description) -> str:
    if shown.alias is None:
        return ""
    record = shown.alias
    at = f"{record.alias} (move {record.sequence})" if record.alias.moves else str(record.alias)
    why = f": {record.why}" if record.why else ""
    return one_line(f"{at}, given {record.when} by {record.who} from {record.source}{why}")


def _requested(asked: Requirements) -> str:
    pypi = ", ".join(each.said for each in asked.pypi)
    conda = ", ".join((*asked.conda, *asked.conda_only))
    if not conda:
        return pypi or "nothing"
    return f"conda: {conda}" + (f"; PyPI: {pypi}" if pypi else "")


def _channels(asked: Requirements) -> str:
    if not asked.has_conda:
        return ""
    return ", ".join(asked.channels) + (" (none before another)" if asked.channel_priority == "disabled" else "")


def _system(lock: Lock) -> list[str]:
    """What the machine must bring, without what every environment with conda packages takes for granted."""
    from envlock.config.system_packages import CONDA_DEFAULT_SYSTEM

    usual = CONDA_DEFAULT_SYSTEM[lock.arch].items()
    rows = [(name, version) for arch, name, version in lock.requirements.system if arch == lock.arch]
    return [f"{name} {version}" for name, version in rows if (name, version) not in usual]


def _python(lock: Lock) -> str:
    asked = f"asked: {lock.requirements.python or 'any'}"
    if lock.python.source == "machine":
        return f"{lock.python.series}, from {lock.python.version} on, of this machine ({asked})"
    if lock.python.source == "conda":
        return f"CPython {lock.python.version} from conda ({asked})"
    return f"{lock.python.version}, the build {lock.python.filename} ({asked})"


def document(shown: Description | Disabled) -> dict[str, object]:
    """One environment in full, for machines."""
    from envlock.cli.alias_text import record_document
    from envlock.cli.show_packages import package_documents, provided, totals_document
    from envlock.workflow.show import Disabled

    if isinstance(shown, Disabled):
        return {"disabled": True, "used_by": [shown.name]}
    lock = shown.lock
    asked = lock.requirements
    return {
        "disabled": False,
        "type": asked.type,
        "req_id": lock.req_id,
        "full_id": lock.full_id,
        "identity": lock.identity,
        "netflix_req_id": shown.reference_id,
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
            "requested": asked.python or None,
            "source": lock.python.source,
            "version": lock.python.version,
            "series": lock.python.series,
            "filename": lock.python.filename or None,
        },
        "requested_packages": {
            "pypi": [str(each) for each in asked.pypi],
            "metaflow": [str(each) for each in asked.metaflow],
            "conda": list(asked.conda),
            "conda_only": list(asked.conda_only),
        },
        "sources": {
            "indexes": list(asked.indexes),
            "default_index": asked.default_index or None,
            "package_indexes": {str(each): each.from_index for each in asked.pypi if each.from_index},
            "channels": list(asked.channels),
        },
        "channel_priority": (asked.channel_priority or "strict") if asked.has_conda else None,
        "extra_flags": list(asked.pip_flags),
        "exclude_newer": lock.exclude_newer or None,
        "system_requirements": {name: version for arch, name, version in asked.system if arch == lock.arch},
        "extends": asked.base or None,
        "provided_by_conda": dict(sorted(provided(lock).items())),
        "totals": totals_document(lock),
        "packages": package_documents(lock),
    }
