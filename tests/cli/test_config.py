"""`envlock config show` tells each setting, where it was written, and no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envlock.__main__ import main

SECRETS = ("s3cr3t", "t0ken")


@pytest.fixture
def folder(tmp_path: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a user file and a team file, two of which have the same key."""
    user = isolated / "config" / "envlock" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text(
        '[envlock]\ncache = "s3://user/envlock"\npython-mirror = "https://me:s3cr3t@mirror.example/python"\n'
        '[envlock.channel-mirrors]\nmain = "https://conda.example/t/t0ken-123/main"\n'
    )
    (tmp_path / "team.toml").write_text('[envlock]\ncache = "s3://team/envlock"\nhosts = ["index.example"]\n')
    (tmp_path / "envlock.toml").write_text('[envlock]\nextends = "team.toml"\n[flow.Gone]\nfile = "gone.py"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def documents(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["config", "show", "--json", *arguments]) == 0
    return {each["key"]: each for each in json.loads(capsys.readouterr().out)["settings"]}


def test_each_setting_is_shown_with_its_place_and_what_it_overrides(
    folder: Path, isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user = str(isolated / "config" / "envlock" / "config.toml")
    found = documents(capsys)
    assert found["cache"] == {
        "key": "cache",
        "value": "s3://team/envlock",
        "from": {"kind": "team file", "path": "team.toml", "line": 2},
        "place": True,
        "variable": "ENVLOCK_CACHE",
        "overridden": [{"value": "s3://user/envlock", "from": {"kind": "user file", "path": user, "line": 2}}],
    }
    assert found["hosts"]["from"] == {"kind": "team file", "path": "team.toml", "line": 3}
    assert (found["hosts"]["place"], found["hosts"]["variable"]) == (False, None)
    assert found["archs"]["from"] == {"kind": "default", "path": None, "line": None}
    assert found["home"]["variable"] == found["home"]["from"]["path"] == "ENVLOCK_HOME"
    assert main(["config", "show"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("cache ")] == ["team.toml:2"]
    assert f"{user}:2, overridden" in out


def test_no_secret_is_shown(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", "other=https://me:s3cr3t@x.example/other")
    monkeypatch.setenv("ENVLOCK_CACHE", "s3://key:s3cr3t@team/envlock")
    for arguments in ([], ["--json"], ["cache"], ["python-mirror"], ["channel-mirrors", "--json"]):
        assert main(["config", "show", *arguments]) == 0
        said = "".join(capsys.readouterr())
        assert [each for each in SECRETS if each in said] == []


def test_the_value_of_one_key_is_alone_on_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "cache"]) == 0
    assert tuple(capsys.readouterr()) == ("s3://team/envlock\n", "from team.toml:2\n")
    assert main(["config", "show", "channel-mirrors.main"]) == 0
    assert capsys.readouterr().out == "https://conda.example/main\n"
    assert main(["config", "show", "resolver"]) == 0
    assert capsys.readouterr().out == '{ conda = "rattler", pypi = "uv" }\n'
    assert main(["config", "show", "index-url"]) == 0
    assert tuple(capsys.readouterr()) == ("\n", "unset\n")
    assert documents(capsys, "index-url")["index-url"]["value"] is None
    assert main(["config", "show"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["index-url", "unset", "default"] in rows
    assert main(["config", "show", "chache"]) == 2
    assert "did you mean `cache`" in capsys.readouterr().err


def test_it_works_without_a_project(
    tmp_path: Path, isolated: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert documents(capsys, "cache")["cache"]["value"] == "envlock-cache"
    assert main(["config", "show", "--config", "gone/envlock.toml"]) == 2
    capsys.readouterr()
    user = isolated / "config" / "envlock" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('[envlock]\nkeep-on-node = "1 GB"\nhome = "/data/envlock"\n')
    monkeypatch.delenv("ENVLOCK_HOME")
    found = documents(capsys)
    assert (found["keep-on-node"]["value"], found["keep-on-node"]["from"]["line"]) == ("1 GB", 2)
    assert (found["home"]["value"], found["home"]["from"]["line"]) == ("/data/envlock", 3)


def test_a_cache_in_metaflows_datastore_is_shown_with_its_place(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVLOCK_CACHE", "metaflow")
    monkeypatch.setenv("METAFLOW_DEFAULT_DATASTORE", "s3")
    assert main(["config", "show"]) == 0
    assert "METAFLOW_DATASTORE_SYSROOT_S3" in capsys.readouterr().err, "all other settings are shown still"
    assert main(["config", "show", "cache"]) == 2
    assert "error[no-metaflow-datastore]" in capsys.readouterr().err
    monkeypatch.setenv("METAFLOW_DATASTORE_SYSROOT_S3", "s3://bucket/metaflow")
    assert main(["config", "show", "cache"]) == 0
    assert capsys.readouterr().out == "s3://bucket/metaflow/envlock\n"
    assert documents(capsys)["cache"]["resolved"] == "s3://bucket/metaflow/envlock"


def test_a_misspelt_variable_is_a_warning_and_one_of_the_users_own_is_not(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENVLOCK_CAHCE", "ENVLOCK_TEAM", "ENVLOCK_INDEX_INDEX_EXAMPLE_USERNAME"):
        monkeypatch.setenv(name, "x")
    assert main(["config", "show", "archs"]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert warnings == ["warning: ENVLOCK_CAHCE is no variable of envlock: did you mean ENVLOCK_CACHE?"]
    assert main(["config", "show", "archs", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
