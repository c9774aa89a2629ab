"""VS Code's settings, edited as text: JSON with comments."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.config.edit.vscode_settings import KEY, NotJson, with_setting

KEPT = {
    "comments and trailing commas": (
        '// ours\n{\n\t"a": {"b": [1, 2,], // two\n\t},\n\t/* last */ "c": "// no comment",\n}\n// end\n',
        '// ours\n{\n\t"a": {"b": [1, 2,], // two\n\t},\n\t/* last */ "c": "// no comment",\n\t"k": "v"\n}\n// end\n',
    ),
    "a comment after the last": ('{\n  "a": 1 // one\n}', '{\n  "a": 1, // one\n  "k": "v"\n}'),
    "a comment alone": ("{ // none yet\n}\n", '{ // none yet\n    "k": "v"\n}\n'),
    "an empty object": ("{}", '{\n    "k": "v"\n}'),
    "an empty file": ("", '{\n    "k": "v"\n}\n'),
    "a file of comments": ("// mine\n", '// mine\n{\n    "k": "v"\n}\n'),
    "line ends of Windows": ('{\r\n  "a": 1\r\n}\r\n', '{\r\n  "a": 1,\r\n  "k": "v"\r\n}\r\n'),
    "a byte order mark": ('\ufeff{"a": 1}', '\ufeff{"a": 1,\n    "k": "v"\n}'),
    "another value": ('{"k": ["old"], "a": 1}', '{"k": "v", "a": 1}'),
    "a value with an unknown escape": ('{"k": "\\q"}', '{"k": "v"}'),
    "a number of too many digits": (f'{{"k": {"9" * 5000}}}', '{"k": "v"}'),
    "the same key deeper": ('{"a": {"k": "old"}}', '{"a": {"k": "old"},\n    "k": "v"\n}'),
    "the last of two counts, as for VS Code": ('{"k": 1, "k": 2}', '{"k": 1, "k": "v"}'),
    "the same value, spelt otherwise": ('{"k": "\\u0076"}', '{"k": "\\u0076"}'),
}


@pytest.mark.parametrize("case", KEPT)
def test_everything_but_the_one_setting_stays(case: str) -> None:
    before, after = KEPT[case]
    assert with_setting(before, "k", "v") == after
    assert with_setting(after, "k", "v") == after


NOT_JSON = {
    "[]": "it is not an object",
    '{"a": 1 "b": 2}': "a comma is missing",
    '{"a" 1}': "a colon is missing",
    '{"a": }': "a value is missing or malformed",
    "{a: 1}": "a key, in quotation marks, is missing",
    '{"a": 1': "it ends too early",
    '{"a": "x': "a value is missing or malformed",
    '{"a": 1} {': "there is more after its last brace",
    '{"a": {"b" 1}}': "a key, in quotation marks, and a colon are missing",
    '{"a": [1 2]}': "a comma is missing",
    '{"\\q": 1}': "a key has an unknown escape",
    '{"a": ' + "[" * 100_000: "it is nested too deeply",
}


@pytest.mark.parametrize("text", NOT_JSON, ids=[each[:20] for each in NOT_JSON])
def test_what_is_not_json_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(NotJson, match=re.escape(NOT_JSON[text])):
        with_setting(text, "k", "v")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.sampled_from([None, 2]), st.text())
def test_any_json_keeps_all_its_other_settings(settings: dict[str, object], indent: int | None, value: str) -> None:
    found = json.loads(with_setting(json.dumps(settings, indent=indent, ensure_ascii=False), KEY, value))
    assert found == {**settings, KEY: value}


@given(st.text(alphabet='{}[]":,/* \\ak1\n'))
def test_any_text_is_edited_or_refused(text: str) -> None:
    try:
        edited = with_setting(text, "k", "v")
    except NotJson:
        return
    assert with_setting(edited, "k", "v") == edited
