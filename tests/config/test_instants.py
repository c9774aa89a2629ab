"""What `exclude-newer` takes, at its ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from envlock.config.instants import absolute_instant, span_of
from tests.conftest import Envlock
from tests.support import ProjectFolder


@pytest.mark.parametrize("text", ["9999999d", "99999999999d", "9" * 5000 + "h", "P999999999W", "53000w"])
def test_spans_that_no_calendar_holds(text: str) -> None:
    assert span_of(text) is None


def test_long_spans() -> None:
    assert span_of("365000 days") == timedelta(days=365000)


@pytest.mark.parametrize("text", ["9999-12-31", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-10:00"])
def test_instants_that_no_calendar_holds(text: str) -> None:
    with pytest.raises(ValueError, match="beyond"):
        absolute_instant(text)


@pytest.mark.parametrize("text", ["9999-12-31", "99999999999d"])
@pytest.mark.parametrize("command", ["lock", "check"])
def test_they_are_reported(project: ProjectFolder, envlock: Envlock, text: str, command: str) -> None:
    project.write_env("lam", settings=f'exclude-newer = "{text}"')
    said = envlock(command, check=2).stderr
    assert "error[bad-instant]" in said
    assert "(envlock.exclude-newer)" in said
