"""What a name may be, and what it may not."""

from __future__ import annotations

import pytest

from envlock.named.alias import (
    Alias,
    filled_in,
    has_variables,
    parse_alias,
    parse_move_reference,
)
from envlock.named.errors import BadAlias, UnsetNameVariable


@pytest.mark.parametrize(
    ("text", "name", "tag"),
    [
        ("base", "base", "latest"),
        ("team/ml-env", "team/ml-env", "latest"),
        ("team/env:v1", "team/env", "v1"),
        ("mlp/metaflow/data_science_env:v1", "mlp/metaflow/data_science_env", "v1"),
        ("ml-team/recommendation/base:v2.1", "ml-team/recommendation/base", "v2.1"),
        ("team/env:2023-03-15", "team/env", "2023-03-15"),
        ("team/env:prod-release-1.2", "team/env", "prod-release-1.2"),
        ("team/env:latest", "team/env", "latest"),
        ("0/1:2", "0/1", "2"),
        ("a" * 200 + ":" + "b" * 128, "a" * 200, "b" * 128),
        ("team/" + "f" * 40, "team/" + "f" * 40, "latest"),
    ],
)
def test_names(text: str, name: str, tag: str) -> None:
    assert parse_alias(text) == Alias(name, tag)
    assert parse_alias(str(parse_alias(text))) == Alias(name, tag)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("/", "empty"),
        ("/team", "empty"),
        ("team/", "empty"),
        ("team//env", "empty"),
        (":v1", "empty"),
        ("team/env:", "the tag is empty"),
        ("team/env:v1:v2", "one tag"),
        ("team/env::v1", "one tag"),
        ("..", "path"),
        ("team/../env", "path"),
        ("team/env:..", "path"),
        ("team/env:a..b", "path"),
        ("team/./env", "path"),
        ("Team/env", "capitals"),
        ("team/env:V1", "capitals"),
        ("team/env:v1/x", "'/'"),
        ("team/en.v", "only a tag may have"),
        ("team/env:.hidden", "begins or ends"),
        ("team/-env", "begins or ends"),
        ("team/env_", "begins or ends"),
        ("team/env:v1.", "begins or ends"),
        ("team/env ", "U+0020"),
        ("team/env\n", "U+000A"),
        ("team/env:v1\n", "U+000A"),
        ("team/\0", "U+0000"),
        ("team\\env", "'\\\\'"),
        ("team/@tags/env", "'@'"),
        ("team/env*", "'*'"),
        ("~root/env", "'~'"),
        ("a" * 300, "at most 200"),
        ("team/env:" + "a" * 300, "at most 128"),
        ("f" * 40, "an id"),
        ("f" * 40 + ":" + "0" * 40, "an id"),
        # Letters that look like others: Cyrillic, full width, a soft hyphen, a dotless i, a long s.
        ("te\u0430m/env", "U+0430"),
        ("team/\uff45nv", "U+FF45"),
        ("te\u00adam/env", "U+00AD"),
        ("team/l\u0131b", "U+0131"),
        ("team/ba\u017fe", "U+017F"),
        ("team/env:v\u0661", "U+0661"),
        ("team\u2215env", "U+2215"),
        ("\u0422eam/env", "capitals"),
    ],
)
def test_no_names(text: str, reason: str) -> None:
    with pytest.raises(BadAlias) as caught:
        parse_alias(text)
    assert reason in caught.value.reason


@pytest.mark.parametrize("text", ["team/base@", "team/base@0", "team/base@01", "team/base@-1", "team/base@v1", "a@1@2"])
def test_no_moves(text: str) -> None:
    with pytest.raises(BadAlias):
        parse_move_reference(text)


def test_which_tags_move() -> None:
    assert [tag for tag in ("latest", "candidate", "stable", "v1", "stable-1") if Alias("a", tag).moves] == [
        "latest",
        "candidate",
        "stable",
    ]


def test_variables() -> None:
    assert filled_in("@{TEAM}/env:@{TAG}@{TAG}", {"TEAM": "ml", "TAG": "v1"}) == "ml/env:v1v1"
    assert filled_in("team/env@3", {}) == "team/env@3"
    assert filled_in("@{A}", {"A": "@{B}", "B": "no"}) == "@{B}", "what was put in is not looked at again"
    assert has_variables("@{A}/b")
    assert not has_variables("${A}/b@{")
    with pytest.raises(UnsetNameVariable, match="`TEAM`"):
        filled_in("@{TEAM}/env", {"team": "ml"})
