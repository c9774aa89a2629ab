"""Whatever a format has a place for comes back from it: an export that is read again has the same full_id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from envlock.interchange.errors import FormatCannotHold
from envlock.interchange.exported import FORMATS, Given, export
from envlock.interchange.imported import Choice, Imported, read
from envlock.lockfile.document import render
from envlock.lockfile.rows import rows_in
from envlock.model.arch import Arch
from envlock.model.lock import Lock, LockedPackage, LockedPython
from tests.property.conda_strategies import conda_locks
from tests.property.strategies import locks as wheel_locks

few = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.filter_too_much], phases=[Phase.generate]
)


def in_channels(lock: Lock) -> Lock:
    """The lock with each conda package where channels have theirs, and with an MD5; and without what was built."""
    kept = (each for each in lock.packages if each.source is None)
    return replace(lock, packages=tuple(_in_channel(each) if each.conda else each for each in kept))


def _in_channel(package: LockedPackage) -> LockedPackage:
    facts = package.conda
    assert facts is not None
    channel = facts.channel if facts.channel.startswith("http") else "https://conda.example/main"
    url = f"{channel}/{facts.subdir}/{package.filename.replace('+', '%2B')}"
    return replace(package, url=url, conda=replace(facts, channel=channel, md5="ab" * 16))


def exported(lock: Lock, name: str, *, only: str = "") -> str:
    """The lock in a format; the example is of no use where the format has no place for it."""
    try:
        return export(Given(name, "Train/start", (rows_in(render(lock).encode()),), only)).text
    except FormatCannotHold:
        assume(False)
        raise


def read_again(text: str, name: str, lock: Lock) -> Imported:
    """What the reader of the format makes of a text, on the Python of the lock."""

    def pythons(allowed: str, archs: Sequence[Arch]) -> Mapping[Arch, LockedPython]:
        return dict.fromkeys(archs, lock.python)

    with TemporaryDirectory() as folder:
        path = Path(folder) / FORMATS[name].file
        path.write_text(text, encoding="utf-8")
        return read(
            path, Choice(pythons, archs=(lock.arch,), python="" if lock.conda_packages else lock.requirements.python)
        )


def full_id(found: Imported, lock: Lock) -> str:
    """The full_id of what was read."""
    return replace(lock, python=found.pythons[lock.arch], packages=found.locks[lock.arch]).full_id


@pytest.mark.parametrize("name", ["conda-lock", "pixi"])
@few
@given(lock=conda_locks().map(in_channels))
def test_conda_packages_and_wheels_come_back(name: str, lock: Lock) -> None:
    assert full_id(read_again(exported(lock, name), name, lock), lock) == lock.full_id


@few
@given(lock=conda_locks().map(in_channels))
def test_an_explicit_list_comes_back(lock: Lock) -> None:
    lock = replace(lock, packages=lock.conda_packages)
    assert full_id(read_again(exported(lock, "explicit"), "explicit", lock), lock) == lock.full_id


@few
@given(lock=wheel_locks)
def test_a_pylock_comes_back(lock: Lock) -> None:
    assume(lock.python.source == "machine")
    assume(all(each.source is None for each in lock.packages))
    assert full_id(read_again(exported(lock, "pylock"), "pylock", lock), lock) == lock.full_id


@few
@given(lock=wheel_locks)
def test_requirements_come_back_with_their_versions_and_hashes(lock: Lock) -> None:
    assume(lock.packages and all(each.source is None for each in lock.packages))
    assume(not lock.requirements.find_links)  # what is read as a lock names no places to look in
    found = read_again(exported(lock, "requirements"), "requirements", lock)
    hashes = {
        each.name: found.hashes.get((each.name, each.version)) or frozenset([each.sha256])
        for each in found.locks[lock.arch]
    }
    assert hashes == {each.name: frozenset([each.sha256]) for each in lock.packages}
    assert {(each.name, each.version) for each in found.locks[lock.arch]} == {
        (each.name, each.version) for each in lock.packages
    }


@few
@given(lock=st.one_of(wheel_locks, conda_locks()))
def test_no_export_names_a_place_of_this_machine(lock: Lock) -> None:
    rows = rows_in(render(lock).encode())
    for name in (name for name, each in FORMATS.items() if not each.is_image):
        try:
            text = export(Given(name, "Train/start", (rows,))).text
        except FormatCannotHold:
            continue
        assert "/srv/" not in text
        assert "file:" not in text
