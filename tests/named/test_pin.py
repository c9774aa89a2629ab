"""Pins of named environments: what is written is read back, and nothing else is believed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.files import NotPlain
from envlock.lockfile.canonical_text import digest_of
from envlock.model.arch import ARCHS, LINUX_64, OSX_ARM64
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.named.errors import DamagedPin
from envlock.named.pin import Pin, extended, parse_pin, pin_path, read_pin, render_pin, write_pin
from tests.property.strategies import requirements
from tests.support import conda_requirements

IDS = st.text("0123456789abcdef", min_size=40, max_size=40)
PINS = st.builds(
    Pin,
    kind=st.just("name"),
    reference=st.sampled_from(["team/base:v1", "team/base:latest", "a:v2.1", f"{'0' * 40}:{'1' * 40}"]),
    requirements=requirements,
    full_ids=st.dictionaries(st.sampled_from(ARCHS), IDS, min_size=1).map(lambda found: tuple(sorted(found.items()))),
    sequence=st.integers(1, 10**6),
    record=st.text("0123456789abcdef", min_size=64, max_size=64),
)
PIN = Pin(
    "name", "team/base:v1", Requirements(pypi=(parse_requirement("lam"),)), ((LINUX_64, "1" * 40),), 1, record="2" * 64
)


@given(pin=PINS)
def test_a_pin_is_read_back(pin: Pin) -> None:
    found = parse_pin(render_pin(pin).encode(), pin.kind, pin.reference, "pin")
    assert found == pin._replace(requirements=found.requirements)
    assert found.req_id == pin.req_id


@given(data=st.data())
def test_no_byte_of_it_can_be_changed(data: st.DataObject) -> None:
    whole = render_pin(PIN).encode()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:place] + data.draw(st.binary(max_size=2)) + whole[place + 1 :]
    if changed != whole:
        with pytest.raises(Exception, match=r"pin|format") as caught:
            parse_pin(changed, "name", PIN.reference, "pin")
        assert getattr(caught.value, "code", "") in {"damaged-pin", "newer-pin-format"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("linux-64 = ", "win-64 = "),
        ('"' + "1" * 40 + '"', '"../../x"'),
        ('"' + "1" * 40 + '"', "1"),
        ("sequence = 1", "sequence = -1"),
        ("sequence = 1", "sequence = true"),
        ('record = "2', 'record = "x2'),
        ("[requirements]", "[requirement]"),
        ("python-from =", "python_from ="),
        ('"lam"', '"zeta"'),
        ('team/base:v1"', 'team/base:v2"'),
        ("linux-64 = ", "# linux-64 = "),
        ("format = 1", "format = 1\nevil = 1"),
        ("format = 1", "format = 2"),
        ("format = 1", 'format = 1\npathspec = "Flow/1/step"'),
        ("[requirements]", "[evil]\nx = 1\n\n[requirements]"),
    ],
)
def test_a_pin_with_a_new_digest_is_not_believed_either(old: str, new: str) -> None:
    body = render_pin(PIN).rpartition("\n[stamp]")[0]
    assert old in body
    body = body.replace(old, new)
    text = f'{body}\n[stamp]\ndigest = "{digest_of(body)}"\n'
    with pytest.raises(DamagedPin):
        parse_pin(text.encode(), "name", "team/base:v1", "pin")


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("name", "team/env:v1"),
        ("name", "team/env/v1:latest"),
        ("name", "team/env:v1.toml"),
        ("name", f"{'0' * 40}:{'1' * 40}"),
        ("pathspec", "Flow/1/start"),
        ("pathspec", "Flow/1/start/2"),
    ],
)
def test_every_name_has_a_place_of_its_own(tmp_path: Path, kind: str, reference: str) -> None:
    others = [
        "team/env:v1",
        "team/env/v1:latest",
        "team/env:latest",
        "team:latest",
        "team/env/v1:v1",
        "team/env:v1.toml",
    ]
    paths = {name: write_pin(tmp_path, PIN._replace(reference=name)) for name in others}
    path = write_pin(tmp_path, PIN._replace(kind=kind, reference=reference))
    assert path == pin_path(tmp_path, kind, reference)
    assert path.is_relative_to(tmp_path / "aliases")
    found = read_pin(tmp_path, kind, reference)
    assert found is not None
    assert found.reference == reference
    for name, place in paths.items():
        assert (place == path) == (name == reference)


def test_no_pin_is_written_behind_a_link_that_leads_out(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    project = tmp_path / "project"
    project.mkdir()
    (project / "envlock.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotPlain):
        write_pin(project / "envlock.lock", PIN, within=project)
    assert not any((tmp_path / "elsewhere").iterdir())


def test_what_an_older_envlock_cannot_read_has_a_format_of_its_own() -> None:
    for asked in (
        Requirements(constraints=(parse_requirement("lam<2"),)),
        Requirements(pypi=(parse_requirement(f"common @ folder+sha256:{'ab' * 32}"),)),
    ):
        pin = PIN._replace(requirements=asked)
        text = render_pin(pin)
        assert "\nformat = 2\n" in text
        assert parse_pin(text.encode(), "name", pin.reference, "pin") == pin
    assert "\nformat = 1\n" in render_pin(PIN)


def test_the_page_shows_a_pin() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "lock-format.md"
    (text,) = re.findall(r"```toml\n(# What ml-team/base:v1 stood.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert parse_pin(text.encode(), "name", "ml-team/base:v1", "pin").sequence == 1


def test_what_extends_needs_of_a_machine_what_both_need() -> None:
    base = Requirements(system=((LINUX_64, "__cuda", "12.4"), (LINUX_64, "__glibc", "2.31")))
    asked = Requirements(system=((LINUX_64, "__glibc", "2.4"), (OSX_ARM64, "__osx", "13.0")))
    pin = PIN._replace(requirements=base)
    assert extended(asked, pin).system == (
        (LINUX_64, "__cuda", "12.4"),
        (LINUX_64, "__glibc", "2.31"),
        (OSX_ARM64, "__osx", "13.0"),
    )
    assert extended(asked._replace(system=((LINUX_64, "__glibc", "2.35"),)), pin).system[1] == (
        LINUX_64, "__glibc", "2.35",
    )  # fmt: skip


def test_channels_are_a_requirement_only_where_conda_packages_are_added() -> None:
    pin = PIN._replace(
        requirements=Requirements(python_from="conda", conda=conda_requirements("lower"), channels=("a",))
    )
    asked = Requirements(pypi=(parse_requirement("lam"),), channels=("conda-forge",), python_from="conda")
    assert extended(asked, pin).channels == ()
    assert extended(asked, pin).type == "mixed"
    assert extended(asked._replace(conda=conda_requirements("upper")), pin).channels == ("conda-forge",)


def test_an_environment_that_extends_another_has_its_variables_and_its_own_before_them() -> None:
    pin = PIN._replace(requirements=PIN.requirements._replace(variables=(("A", "base"), ("B", "base"))))
    assert extended(Requirements(), pin).variables == (("A", "base"), ("B", "base"))
    own = Requirements(variables=(("B", "own"), ("C", "own")))
    assert extended(own, pin).variables == (("A", "base"), ("B", "own"), ("C", "own"))
