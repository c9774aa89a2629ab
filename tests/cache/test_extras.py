"""What each extra installs beside Metaflow, whose boto3 is the one thing that can be in the way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomli

from tests.servers.processes import ROOT

pytestmark = pytest.mark.index

UV = Path(sys.executable).with_name("uv")
EXTRAS = {"s3": ("s3fs",), "gcs": ("gcsfs",), "azure": ("adlfs",), "all": ("s3fs", "gcsfs", "adlfs")}
OPTIONAL = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FLOORS = {"s3fs": (2025, 5), "gcsfs": (2025, 5), "adlfs": (2025, 8)}
_VERSIONS = """
import importlib.metadata, json, sys
for name in sys.argv[1:]: __import__(name)
if "s3fs" in sys.argv: import metaflow, boto3  # what rests on the same botocore
print(json.dumps({name: importlib.metadata.version(name) for name in (*sys.argv[1:], "boto3", "botocore", "metaflow")}))
"""


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:2])


def uv(*arguments: str) -> str:
    done = subprocess.run(
        [str(UV), "--no-progress", *arguments], env=os.environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "extra", ["all", *(pytest.param(each, marks=pytest.mark.slow) for each in ("s3", "gcs", "azure"))]
)
def test_an_extra_beside_metaflow(extra: str, tmp_path: Path) -> None:
    """Installed for real, with what Metaflow wants, in a new environment: recent, importable, and without conflict."""
    uv("venv", "--python", sys.executable, str(tmp_path / "venv"))
    python = tmp_path / "venv" / "bin" / "python"
    uv("pip", "install", "--python", str(python), "metaflow>=2.16", *OPTIONAL[extra])
    uv("pip", "check", "--python", str(python))
    command = [str(python), "-c", _VERSIONS, *EXTRAS[extra]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    versions = json.loads(done.stdout)
    for package in EXTRAS[extra]:
        assert numbers(versions[package]) >= FLOORS[package]
    assert numbers(versions["metaflow"]) >= (2, 16)


@pytest.mark.parametrize("first", ["boto3", pytest.param("s3fs", marks=pytest.mark.slow)])
def test_whatever_is_named_first(first: str, tmp_path: Path) -> None:
    """Without a floor, naming boto3 first got the last s3fs that does without aiobotocore, of 2020."""
    lines = ["boto3", *OPTIONAL["all"], "metaflow"] if first == "boto3" else [*OPTIONAL["all"], "metaflow", "boto3"]
    (tmp_path / "asked.in").write_text("\n".join(lines))
    said = uv("pip", "compile", "-q", str(tmp_path / "asked.in"))
    found = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", said, re.MULTILINE))
    assert all(numbers(found[package]) >= floor for package, floor in FLOORS.items())
    assert numbers(found["boto3"]) >= (1, 40)


def test_the_floors_are_those_that_the_code_insists_on() -> None:
    from envlock.cache.buckets import SERVICES

    for service in SERVICES.values():
        assert f"{service.package}>={service.floor}" in OPTIONAL[service.extra]
        assert f"{service.package}>={service.floor}" in OPTIONAL["all"]
