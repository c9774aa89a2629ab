"""Where Metaflow's datastore is: what is read without Metaflow is what Metaflow itself says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from envlock.config.metaflow_datastore import NoMetaflowDatastore, datastore
from tests.config.projects import load

REAL = """
import importlib, json, os, sys
import metaflow
clean = {name: value for name, value in os.environ.items() if not name.startswith("METAFLOW_")}
found = {}
for name, (folder, variables) in json.load(sys.stdin).items():
    os.environ.clear()
    os.environ.update({**clean, **variables})
    os.chdir(folder)
    of_settings = ("metaflow.metaflow_config", "metaflow.plugins.datastores")
    for module in [each for each in sys.modules if each.startswith(of_settings)]:
        del sys.modules[module]
    config = importlib.import_module("metaflow.metaflow_config")
    kind = config.DEFAULT_DATASTORE
    storage = importlib.import_module(f"metaflow.plugins.datastores.{kind}_storage")
    classes = [each for name, each in vars(storage).items() if name.endswith("Storage")]
    of_kind = next(each for each in classes if getattr(each, "TYPE", "") == kind)
    root = of_kind.get_datastore_root_from_config(lambda _: None, create_on_absent=False)
    found[name] = [root, config.S3_ENDPOINT_URL]
print(json.dumps(found))
"""


def cases(top: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Folders and variables by the name of a case, with the files of profiles."""
    home, project = top / "home", top / "project" / "below"
    home.mkdir()
    project.mkdir(parents=True)
    (top / "project" / ".metaflow").mkdir()
    (top / "bare").mkdir()
    (top / "own" / ".metaflow").mkdir(parents=True)
    s3 = {"METAFLOW_DEFAULT_DATASTORE": "s3", "METAFLOW_DATASTORE_SYSROOT_S3": "s3://bucket/profile"}
    (home / "config.json").write_text(json.dumps({**s3, "METAFLOW_S3_ENDPOINT_URL": "https://objects.example"}))
    gs = {"METAFLOW_DEFAULT_DATASTORE": "gs", "METAFLOW_DATASTORE_SYSROOT_GS": "gs://bucket/team/"}
    (home / "config_team.json").write_text(json.dumps(gs))
    azure = {"METAFLOW_DEFAULT_DATASTORE": "azure", "METAFLOW_DATASTORE_SYSROOT_AZURE": "container/flows"}
    (home / "config_azure.json").write_text(json.dumps(azure))
    (top / "own" / ".metaflow" / "config.json").write_text('{"METAFLOW_DATASTORE_SYSROOT_S3": "s3://bucket/own"}')
    at_home, nowhere = {"METAFLOW_HOME": str(home)}, {"METAFLOW_HOME": str(top / "nowhere")}
    sysroot = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(top / "data")}
    local = {"METAFLOW_DEFAULT_DATASTORE": "local"}
    variable = {
        "METAFLOW_DATASTORE_SYSROOT_S3": "s3://bucket/variable",
        "METAFLOW_S3_ENDPOINT_URL": "https://o.example",
    }
    return {
        "the profile without a name": (str(project), at_home),
        "a profile": (str(project), {**at_home, "METAFLOW_PROFILE": "team"}),
        "Azure": (str(project), {**at_home, "METAFLOW_PROFILE": "azure"}),
        "a variable": (str(project), {**at_home, **variable}),
        "the project's own settings": (str(top / "own"), at_home),
        "another kind by a variable": (str(project), {**at_home, **local}),
        "a folder above": (str(project), nowhere),
        "a folder that a variable names": (str(project), {**nowhere, **sysroot}),
        "no folder yet": (str(top / "bare"), nowhere),
    }


def test_metaflow_says_the_same(tmp_path: Path) -> None:
    asked = cases(tmp_path.resolve())
    ran = subprocess.run(
        [sys.executable, "-c", REAL], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    real: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    for name, (folder, variables) in asked.items():
        found = datastore(folder, variables)
        root, endpoint = real[name]
        if name == "no folder yet":  # Metaflow makes it
            root = f"{folder}/.metaflow"
        if name == "Azure":  # Metaflow's own spelling has no scheme
            root = f"az://{root}"
        assert found.root == root, name
        assert found.cache == f"{root.rstrip('/')}/envlock", name
        assert found.endpoint == (endpoint if root.startswith("s3:") and endpoint else ""), name


@pytest.mark.parametrize(
    ("variables", "files", "fact"),
    [
        ({"METAFLOW_PROFILE": "gone"}, {}, "config_gone.json"),
        ({"METAFLOW_DEFAULT_DATASTORE": "s3"}, {}, "METAFLOW_DATASTORE_SYSROOT_S3"),
        ({"METAFLOW_DEFAULT_DATASTORE": "spin"}, {}, "`spin`"),
        ({}, {"config.json": "{"}, "config.json is not a JSON object"),
        ({}, {"config.json": "[]"}, "config.json is not a JSON object"),
        ({"METAFLOW_PROFILE": "x"}, {"config_x.json/y": ""}, "config_x.json cannot be read"),
    ],
)
def test_what_metaflow_does_not_say_is_told(
    tmp_path: Path, variables: dict[str, str], files: dict[str, str], fact: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(NoMetaflowDatastore) as caught:
        datastore(str(tmp_path), {"METAFLOW_HOME": str(tmp_path), **variables})
    assert fact in caught.value.message


def test_a_project_has_its_cache_there_and_metaflows_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFLOW_DEFAULT_DATASTORE", "s3")
    monkeypatch.setenv("METAFLOW_DATASTORE_SYSROOT_S3", "s3://bucket/metaflow")
    monkeypatch.setenv("METAFLOW_S3_ENDPOINT_URL", "https://objects.example")
    monkeypatch.setenv("METAFLOW_S3_CLIENT_PARAMS", '{"region_name": "eu-1", "endpoint_url": "https://other.example"}')
    project = load(tmp_path, '[envlock]\ncache = "metaflow"\ncache-options.profile = "mia"\n')
    assert project.cache_url == project.written_cache == "s3://bucket/metaflow/envlock"
    assert project.cache_options == ("https://objects.example", "eu-1", "mia", "", False)
    own = load(tmp_path, '[envlock]\ncache = "metaflow"\ncache-options.endpoint = "https://own.example"\n')
    assert own.cache_options.endpoint == "https://own.example"
    monkeypatch.delenv("METAFLOW_DATASTORE_SYSROOT_S3")
    with pytest.raises(NoMetaflowDatastore) as caught:
        _ = project.cache_url
    assert tuple(caught.value.locations[0]) == ("envlock.toml", 2, "envlock.cache")


def test_an_azure_account_is_that_of_metaflows_blob_service(tmp_path: Path) -> None:
    found = datastore(
        str(tmp_path),
        {
            "METAFLOW_HOME": str(tmp_path),
            "METAFLOW_DEFAULT_DATASTORE": "azure",
            "METAFLOW_DATASTORE_SYSROOT_AZURE": "container/flows",
            "METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT": "https://team.blob.core.windows.net/",
        },
    )
    assert (found.cache, found.account, found.endpoint) == ("az://container/flows/envlock", "team", "")


def test_a_folder_named_metaflow_is_written_with_a_dot(tmp_path: Path) -> None:
    assert load(tmp_path, '[envlock]\ncache = "./metaflow"\n').cache_url == str(tmp_path / "metaflow")
