"""A failure on a node is one line in a task's log, and an exit status."""

from __future__ import annotations

import pytest

from metaflow_extensions.envlock.plugins.node.errors import Damaged, Misconfigured, Missing, NodeError


def test_the_statuses_are_those_of_envlocks_commands() -> None:
    assert [each.status for each in (Missing, Misconfigured, Damaged, NodeError)] == [1, 2, 3, 5]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\n  lines\r\n::error::x", "two lines ::error::x"),
        ("\x1b[2Jcleared \u202eturned", "?[2Jcleared ?turned"),
        ("at https://me:s3cr3t@store.example/team?sig=s3cr3t#x twice", "at https://store.example/team twice"),
        ("at 's3://key:s3cr3t@bucket/x?a=1'", "at 's3://bucket/x'"),
        ("x" * 5000, "x" * 1000 + "..."),
    ],
)
def test_its_text_is_one_line_without_secrets(text: str, line: str) -> None:
    assert str(NodeError(text)) == line
