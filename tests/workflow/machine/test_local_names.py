"""Local names, as they are left in the home."""

from __future__ import annotations

from pathlib import Path

import pytest

from envlock.workflow.machine import local_names
from envlock.workflow.machine.local_names import Origin, give_name, lead
from tests.workflow.machine.homes import make_prefix


@pytest.mark.parametrize("before", [None, Origin(Path("/projects/a/envlock.toml"), environment="a")])
def test_a_kill_leaves_no_name_that_nobody_knows_to_be_outdated(
    before: Origin | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link whose project is not noted would stay as it is for ever, and no use of it would say so."""
    if before is not None:
        give_name("jup", make_prefix(1), before, force=False)
    origin = Origin(tmp_path / "envlock.toml", environment="base")

    def lead_and_be_killed(link: Path, prefix: Path) -> None:
        lead(link, prefix)
        raise KeyboardInterrupt

    monkeypatch.setattr(local_names, "lead", lead_and_be_killed)
    with pytest.raises(KeyboardInterrupt):
        give_name("jup", make_prefix(2), origin, force=True)
    (name,) = local_names.local_names()
    assert name.origin == origin
