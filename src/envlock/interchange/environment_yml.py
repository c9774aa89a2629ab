"""environment.yml: exact versions and builds for conda, and what pip installs on top. It has no hashes."""

from __future__ import annotations

from envlock.interchange.exported import Export, Given, build_notes, channels_of, override_notes, python_notes, scalar


def write(given: Given) -> Export:
    """The packages of one arch. A Python that is no conda package becomes a requirement of its series."""
    (lock,) = given.locks
    channels = channels_of(given)
    packages = given.packages(lock)
    conda = [each for each in packages if each.conda]
    notes = [
        "the file has no hashes: "
        + ("`--format conda-lock` and `--format explicit` have" if conda else "`--format requirements` has"),
        *python_notes(given),
        *build_notes(given),
        *override_notes(given),
    ]
    lines = [f"name: {given.name}"]
    if channels:
        lines += ["channels:", *(f"- {scalar(name)}" for name in channels.values()), "- nodefaults"]
    lines.append("dependencies:")
    if not any(each.name == "python" for each in conda):
        lines.append(f"- python ={lock.python.version if lock.python.source == 'uv' else lock.python.series}")
    for each in conda:
        assert each.conda is not None
        channel = f"{channels[each.conda.channel]}::" if len(channels) > 1 else ""
        lines.append(f"- {scalar(f'{channel}{each.name}={each.version}={each.build}')}")
    if len(conda) < len(packages):
        if not any(each.name == "pip" for each in conda):
            lines.append("- pip")
            notes.append("conda needs pip for the PyPI packages: the file asks for it, and it was not locked")
        lines.append("- pip:")
        for each in packages:
            if not each.conda:
                lines.append(
                    f"  - {scalar(f'{each.name}=={each.version}' if each.from_index else f'{each.name} @ {each.url}')}"
                )
    variables = lock.requirements.get("variables", ())
    if variables:
        lines += ["variables:", *(f"  {scalar(name)}: {scalar(value)}" for name, value in variables)]
    return Export(given.header() + "\n".join(lines) + "\n", tuple(notes))
