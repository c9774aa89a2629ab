"""req_id, from envlock.toml on: what a user may write in another order, and where it must not matter who locks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
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
        "channels": ["conda-forge"],
        "link-scripts": ["font", "tool"],
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
                    "pypi": {"packages": {"xgboost": ">=2,<3", "rich": ""}, "extras": ["pre"]},
                    "sys_packages": {"packages": {"__cuda": "12.4"}},
                },
                "end": {"disabled": True},
            },
        },
        "Score": {"file": "score.py", "pypi": {"packages": {"click": "8.1.7 ; sys_platform == 'linux'"}}},
    },
    "env": {
        "base": {"pypi": {"packages": {"rich": "15", "click": "8"}}},
        "other": {"requirements": "r.txt"},
        "conda": {
            "conda": {
                "libraries": {"NumPy": "=1.26", "bioconda::samtools": ">=1.2,<2", "blas": "2.1=openblas*"},
                "channels": ["bioconda", "https://conda.example/team"],
                "python": "3.12",
            }
        },
        "mixed": {
            "conda": {"libraries": {"numpy": ""}},
            "pypi": {"packages": {"rich": "15"}, "conda_only": {"ffmpeg": "6"}},
            "sys_packages": {"packages": {"__cuda": "12.4", "__glibc": "2.31"}},
        },
    },
}
PYPI = {"Train/start", "Train/train", "Score/start", "Score/train", "Score/end", "base", "other"}
CONDA = {"conda", "mixed"}


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
    step["extras"] = draw(st.sampled_from([["pre"], ["pre", "pre"]]))
    conda = document["env"]["conda"]["conda"]
    libraries = conda["libraries"]
    libraries[draw(st.sampled_from(["numpy", "NUMPY", " numpy "]))] = libraries.pop("NumPy")
    libraries["bioconda::samtools"] = draw(st.sampled_from([">=1.2,<2", " >= 1.2, < 2 "]))
    libraries["blas"] = draw(st.sampled_from(["2.1=openblas*", "==2.1 openblas*", "2.1 openblas*"]))
    conda["channels"][1] = draw(
        st.sampled_from(["https://me:pw@conda.example/team/", "https://Conda.example/t/${TOKEN}/team"])
    )
    if draw(st.booleans()):
        libraries["python"] = draw(st.sampled_from(["3.12", "=3.12", "3.12.*"]))
        if draw(st.booleans()):
            del conda["python"]
    document["env"]["mixed"]["sys_packages"]["packages"]["__cuda"] = draw(st.sampled_from(["12.4", "=12.4", "==12.4"]))
    return document


@given(document=rewritten())
def test_the_order_of_everything_but_indexes_and_channels_does_not_matter(
    folder: Path, document: dict[str, Any]
) -> None:
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
        ({"envlock__cache-options": {"endpoint": "https://objects.example", "anonymous": True}}, set()),
        ({"envlock__exclude-newer": "2026-11-02"}, None),
        ({"envlock__exclude-newer": "2026-11-02T02:00:00+02:00"}, set()),
        ({"envlock__datastore": "s3"}, set()),
        ({"envlock__channels": ["bioconda", "conda-forge"]}, {"mixed"}),
        ({"envlock__channels": ["conda-forge", "other"]}, CONDA),
        ({"envlock__channel-priority": "disabled"}, CONDA),
        ({"envlock__channel-priority": "strict"}, set()),
        ({"envlock__channel-mirrors": {"conda-forge": "https://mirror.example/main"}}, set()),
        ({"envlock__link-scripts": []}, set()),
        ({"envlock__allow-older": ["pandas"]}, set()),
        ({"envlock__compile-bytecode": True}, set()),
        ({"envlock__remote": False, "envlock__remote-python": "kit", "envlock__push-on-deploy": True}, set()),
        ({"envlock__keep-on-node": "1 GB"}, set()),
        ({"envlock__pack": "auto"}, set()),
        ({"envlock__resolver": {"conda": "conda-lock", "pypi": "pip-tools"}}, set()),
        ({"envlock__python-from": "conda"}, PYPI),
        ({"envlock__system-requirements": {"linux-64": {"__glibc": "2.28", "__linux": "5.10"}}}, None),
        ({"env__mixed__sys_packages": {"packages": {"__cuda": "12.4", "__glibc": "2.17"}}}, {"mixed"}),
        ({"env__mixed__sys_packages": {"packages": {"__glibc": "2.31"}}}, {"mixed"}),
        ({"env__conda__conda__channels": ["https://conda.example/team", "bioconda"]}, {"conda"}),
        ({"envlock__datastore": "local"}, None),
        ({"envlock__extra-indices": ["https://me:secret@index.example/project?token=x"]}, set()),
        ({"envlock__python-from": "uv"}, PYPI),
        ({"envlock__python-mirror": "https://mirror.example"}, set()),
    ],
)
def test_what_moves_which_id(folder: Path, changes: dict[str, Any], moved: set[str] | None) -> None:
    before, after = ids(folder, DOCUMENT), ids(folder, changed(**changes))
    assert set(before) == set(after)
    differing = {name for name in before if before[name] != after[name]}
    assert differing == (set(before) if moved is None else moved)


@pytest.mark.parametrize(
    ("settings_", "start", "train", "other"),
    [
        ({}, "e7d943274f56d7bdc35512ed781069bb2f1fd127", "e981b8089264a55a145142d384267f95397e1e3d",
         "463bc946a3fadc5cd0f26232d970ba02e09f8f55"),
        ({"python-from": "uv"}, "1e73fcc13646703775a783ccf380e4eee78e1269", "9a61de15953b166a4549a7e8a5be311c3a8aef27",
         "ebdffff7551df0dca611b3c5c6e8395dc6df3afc"),
        ({"archs": ["linux-64"], "extra-indices": ["https://index.example/project"], "exclude-newer": "2026-11-01",
          "datastore": ["s3", "local"],
          "system-requirements": {"linux-64": {"__glibc": "2.17"}, "osx-arm64": {"__osx": "14.0"}}},
         "3d92a02c825c80adfbfb3082877db0b4d7a32008", "87949bb9aba5eaf457231c2c3ea67617db1441c7",
         "9378cbdf37c10d834551c271f4fd8aa2b042a062"),
    ],
    ids=["defaults", "an exact Python", "settings"],
)  # fmt: skip
def test_golden_ids_of_projects_without_conda(
    folder: Path, settings_: dict[str, Any], start: str, train: str, other: str
) -> None:
    """Locks that people have: what envlock.toml says without conda keeps its name, whatever keys come later."""
    flow = {
        "file": "train.py",
        "pypi": {"python": ">=3.11,<3.13", "packages": {"Pandas": ">=2,<3", "requests[socks]": ""}},
        "step": {"train": {"pypi": {"packages": {"xgboost": ">=2,<3"}, "extras": ["pre"]}}, "end": {"disabled": True}},
    }
    document = {"envlock": settings_, "flow": {"Train": flow}, "env": {"other": {"requirements": "r.txt"}}}
    assert ids(folder, document) == {"Train/start": start, "Train/train": train, "other": other}


def test_the_machine_does_not_matter(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids(folder, DOCUMENT)
    prepare(tmp_path)
    for name, value in {
        "UV_INDEX_URL": "https://other.example",
        "PIP_EXTRA_INDEX_URL": "https://other.example",
        "METAFLOW_DEFAULT_DATASTORE": "azure",
        "CONDA_OVERRIDE_GLIBC": "2.17",
        "CONDA_OVERRIDE_CUDA": "12.6",
        "CONDA_CHANNELS": "other",
        "ENVLOCK_CHANNEL_MIRRORS": "conda-forge=http://127.0.0.1:1/main",
        "TZ": "Asia/Tokyo",
        "LANG": "tr_TR.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert ids(tmp_path, DOCUMENT) == before
