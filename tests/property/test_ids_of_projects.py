"""req_id, from envlock.toml on: what a user may write in another order, and where it must not matter who locks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from envlock.config.read import load_project

FLOW = "from metaflow import FlowSpec, step\nclass {}(FlowSpec):\n" + "".join(
    f"    @step\n    def {name}(self): pass\n" for name in ("start", "train", "end")
)
DOCUMENT: dict[str, Any] = {
    "envlock": {
        "archs": ["linux-64", "osx-arm64"],
        "extra-indices": ["https://index.example/project"],
        "exclude-newer": "2026-11-01",
        "datastore": ["s3", "local"],
        "hosts": ["index.example", "files.example"],
        "system-requirements": {"linux-64": {"__glibc": "2.28"}, "osx-arm64": {"__osx": "13.0"}},
    },
    "flow": {
        "Train": {
            "file": "train.py",
            "pypi": {
                "python": ">=3.11,<3.13",
                "packages": {"Pandas": ">=2,<3", "requests[socks,use_chardet_on_py3]": "", "rich": "13"},
                "extra_indices": ["https://index.example/a", "https://index.example/b"],
            },
            "step": {
                "train": {
                    "pypi": {"packages": {"xgboost": ">=2,<3", "rich": ""}, "extras": ["pre", "no-binary"]},
                    "sys_packages": {"packages": {"__cuda": "12.4"}},
                },
                "end": {"disabled": True},
            },
        },
        "Score": {"file": "score.py", "pypi": {"packages": {"click": "8.1.7 ; sys_platform == 'linux'"}}},
    },
    "env": {"base": {"pypi": {"packages": {"rich": "15", "click": "8"}}}, "other": {"requirements": "r.txt"}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    prepare(folder)
    return folder


def prepare(folder: Path) -> None:
    (folder / "train.py").write_text(FLOW.format("Train"))
    (folder / "score.py").write_text(FLOW.format("Score"))
    (folder / "r.txt").write_text("rich>=13\n")


def ids(folder: Path, document: dict[str, Any]) -> dict[str, str]:
    path = folder / "envlock.toml"
    path.write_bytes(tomli_w.dumps(document).encode())
    return {each.name: each.requirements.req_id for each in load_project(path).environments()}


def shuffled(value: Any, draw: st.DrawFn) -> Any:
    """The same document, its tables in another order."""
    if not isinstance(value, dict):
        return value
    return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}


@st.composite
def rewritten(draw: st.DrawFn) -> dict[str, Any]:
    """The document as somebody else would have written it."""
    document = shuffled(DOCUMENT, draw)
    settings_, train = document["envlock"], document["flow"]["Train"]
    for key in ("hosts", "datastore", "archs"):
        settings_[key] = draw(st.permutations(settings_[key]))
    packages = train["pypi"]["packages"]
    packages[draw(st.sampled_from(["pandas", "PANDAS", "Pandas"]))] = draw(
        st.sampled_from([">=2,<3", "<3, >=2", " >= 2 , < 3 "])
    )
    if len({name.lower() for name in packages}) < len(packages):
        del packages["Pandas"]
    name = draw(st.sampled_from(["requests[use-chardet.on-py3, socks]", "Requests[socks,use_chardet_on_py3]"]))
    del packages["requests[socks,use_chardet_on_py3]"]
    packages[name] = draw(st.sampled_from(["", "*", " "]))
    train["pypi"]["python"] = draw(st.sampled_from([">=3.11,<3.13", "<3.13, >=3.11"]))
    step = train["step"]["train"]["pypi"]
    step["extras"] = draw(st.permutations(step["extras"]))
    return document


@settings(max_examples=60, deadline=None)
@given(document=rewritten())
def test_the_order_of_everything_but_indexes_does_not_matter(folder: Path, document: dict[str, Any]) -> None:
    assert ids(folder, document) == ids(folder, DOCUMENT)


def changed(**changes: Any) -> dict[str, Any]:
    """The document with other values at dotted keys."""
    import copy

    document = copy.deepcopy(DOCUMENT)
    for key, value in changes.items():
        table = document
        *path, last = key.split("__")
        for name in path:
            table = table[name]
        table[last] = value
    return document


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        (
            {"flow__Train__pypi__extra_indices": ["https://index.example/b", "https://index.example/a"]},
            {"Train/start", "Train/train"},
        ),
        ({"flow__Train__step__train__pypi": {"packages": {"xgboost": ">=2,<3", "rich": ""}}}, {"Train/train"}),
        ({"flow__Train__pypi__python": "3.12"}, {"Train/start", "Train/train"}),
        ({"env__base__pypi": {"packages": {"rich": "15.1", "click": "8"}}}, {"base"}),
        ({"envlock__archs": ["linux-64"]}, set()),
        ({"envlock__hosts": []}, set()),
        ({"envlock__cache": "s3://bucket/elsewhere"}, set()),
        ({"envlock__exclude-newer": "2026-11-02"}, None),
        ({"envlock__exclude-newer": "2026-11-02T02:00:00+02:00"}, set()),
        ({"envlock__datastore": "s3"}, set()),
        ({"envlock__datastore": "local"}, None),
        ({"envlock__extra-indices": ["https://me:secret@index.example/project?token=x"]}, set()),
        ({"envlock__python-from": "uv"}, None),
        ({"envlock__python-mirror": "https://mirror.example"}, set()),
    ],
)
def test_what_moves_which_id(folder: Path, changes: dict[str, Any], moved: set[str] | None) -> None:
    before, after = ids(folder, DOCUMENT), ids(folder, changed(**changes))
    assert set(before) == set(after)
    differing = {name for name in before if before[name] != after[name]}
    assert differing == (set(before) if moved is None else moved)


def test_the_machine_does_not_matter(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids(folder, DOCUMENT)
    prepare(tmp_path)
    for name, value in {
        "UV_INDEX_URL": "https://other.example",
        "PIP_EXTRA_INDEX_URL": "https://other.example",
        "METAFLOW_DEFAULT_DATASTORE": "azure",
        "CONDA_OVERRIDE_GLIBC": "2.17",
        "TZ": "Asia/Tokyo",
        "LANG": "tr_TR.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert ids(tmp_path, DOCUMENT) == before
