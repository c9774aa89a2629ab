"""A task gets its code package from S3 without a package index, and as Metaflow does it where that cannot be."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from metaflow_extensions.envlock.plugins import package_commands
from metaflow_extensions.envlock.plugins.package_commands import PROGRAM, without_index
from scripts.package_program import MEANT, SOURCE, packed, small, unpacked
from tests.node.test_aws import Scripted
from tests.servers.clouds import Cloud
from tests.servers.proxy import Break, Proxy, proxied
from tests.servers.role import Role, role

PACKAGE = os.urandom(300_000)
KEY = "metaflow/TrainFlow/data/1f/1f0c2b8f9a5d4e6c7b8a9f0e1d2c3b4a5f6e7d8c"
STAMP = "%Y%m%dT%H%M%SZ"
MOST = 1536
"""Bytes that a command may be longer than Metaflow's own."""


def commands(url: str) -> tuple[list[str], list[str]]:
    """Metaflow's commands, and ours."""
    with warnings.catch_warnings():  # it imports what warns
        warnings.simplefilter("ignore")
        from metaflow.metaflow_environment import MetaflowEnvironment

    environment = MetaflowEnvironment(None)
    theirs = environment.get_package_commands(url, "s3")
    parts = (environment._get_install_dependencies_cmd("s3"), environment._get_download_code_package_cmd(url, "s3"))
    return theirs, without_index(theirs, *parts, url, "python")


def test_the_program_is_that_of_scripts() -> None:
    assert unpacked(PROGRAM) == small(SOURCE.read_text()), "run scripts/package_program.py"


def test_it_adds_little_and_nothing_that_a_scheduler_replaces() -> None:
    theirs, ours = (" && ".join(each) for each in commands(f"s3://acme-metaflow-bucket/{KEY}"))
    assert 1000 < len(ours) - len(theirs) <= MOST
    assert not MEANT.search(PROGRAM)
    assert not set(PROGRAM) & set("\"'\\\n ")
    (split,) = shlex.split(f'"{ours}"')
    assert PROGRAM in split


def test_unknown_commands_stay_as_they_are() -> None:
    """Those of another version of Metaflow."""
    theirs, _ = commands(f"s3://team/{KEY}")
    assert without_index(theirs, "pip", "get", f"s3://team/{KEY}", "python") == theirs
    assert without_index(theirs, theirs[3], "no such", f"s3://team/{KEY}", "python") == theirs


class Task:
    """A folder in which the commands run, with a `python` that notes when it is to install or use boto3."""

    def __init__(self, folder: Path, cloud: Cloud, proxy: Proxy) -> None:
        self.folder, self.cloud, self.proxy = folder, cloud, proxy
        self.program = unpacked(PROGRAM).replace("random.random()", "0")
        (folder / "bin").mkdir()
        python = folder / "bin" / "python"
        python.write_text(
            f'#!/bin/sh\ncase "$*" in\n*"-m pip install"*) echo pip >> {folder}/metaflow-way;;\n'
            f'*"import boto3"*) echo boto3 >> {folder}/metaflow-way; echo theirs > job.tar;;\n'
            f'*) exec {sys.executable} "$@";;\nesac\n'
        )
        python.chmod(0o755)

    def run(self, monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str], step: str = "start") -> str:
        """Run them, up to the extraction; the value is what was done in Metaflow's way."""
        monkeypatch.setattr(package_commands, "PROGRAM", packed(self.program))
        url = f"s3://envlock-team/{KEY}"
        _, ours = commands(url)
        after = ("tar -xzf", "flush_mflogs", "PYTHONPATH", "METAFLOW_EXTRACTED_ROOT")
        wanted = " && ".join(each for each in ours if not any(part in each for part in after) or each in ours[:1])
        own = {
            "PATH": f"{self.folder}/bin:/usr/bin:/bin",
            "MFLOG_STDOUT": os.devnull,
            "MF_PATHSPEC": f"TrainFlow/1/{step}/1",
            "METAFLOW_CODE_URL": url,
            "METAFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.proxy.port}",
            "HOME": str(self.folder),
        }
        command = shlex.split(f'bash -c "{wanted}"')
        ran = subprocess.run(
            command, cwd=self.folder, env={**own, **environ}, capture_output=True, text=True, check=False
        )
        self.said = ran.stdout + ran.stderr
        assert ran.returncode == 0, self.said
        way = self.folder / "metaflow-way"
        return " ".join(way.read_text().split()) if way.exists() else ""

    @property
    def package(self) -> bytes:
        return (self.folder / "metaflow" / "job.tar").read_bytes()


@pytest.fixture(params=["moto", "seaweedfs"])
def task(request: pytest.FixtureRequest, clouds: Callable[[str], Cloud], tmp_path: Path) -> Iterator[Task]:
    """A task whose code package is in a bucket."""
    import boto3

    cloud = clouds(request.param)
    keys = {name.lower(): cloud.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    client = boto3.client("s3", "us-east-1", endpoint_url=cloud.options.endpoint, **keys)
    client.put_object(Bucket="envlock-team", Key=KEY, Body=PACKAGE)
    client.close()
    with proxied(cloud.port) as proxy:
        yield Task(tmp_path, cloud, proxy)


@pytest.fixture
def node_role(task: Task, tmp_path: Path) -> Iterator[Role]:
    """A role that may read the bucket."""
    with role(tmp_path) as found:
        found.key = task.cloud.environment["AWS_ACCESS_KEY_ID"]
        found.secret = task.cloud.environment["AWS_SECRET_ACCESS_KEY"]
        yield found


def keys_of(task: Task) -> dict[str, str]:
    return {name: task.cloud.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


class TestCredentials:
    def test_keys(self, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        assert task.run(monkeypatch, keys_of(task)) == ""
        assert task.package == PACKAGE
        assert len(task.proxy.passed) == 1
        (folder,) = [each for each in task.folder.iterdir() if each.name == "metaflow"]
        assert sorted(each.name for each in folder.iterdir()) == [".metaflow", "job.tar"]

    @pytest.mark.parametrize("kind", ["web", "container", "instance"])
    def test_those_of_a_role(self, kind: str, task: Task, node_role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
        if task.cloud.name == "seaweedfs":
            pytest.skip("it has no sessions of its keys")
        environ = dict(node_role.variables(kind))
        at = f"http://127.0.0.1:{node_role.port}"
        if kind == "web":
            environ["AWS_ENDPOINT_URL"] = environ.pop("AWS_ENDPOINT_URL_STS")
        elif kind == "container":
            environ = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/relative"}
            task.program = task.program.replace("http://169.254.170.2", at)
        else:
            task.program = task.program.replace("http://169.254.169.254", at)
        assert task.run(monkeypatch, environ) == "", task.said
        assert task.package == PACKAGE

    def test_its_signature_is_that_of_botocore(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from botocore.auth import S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        keys = {"AWS_ACCESS_KEY_ID": "AKIA/+=", "AWS_SECRET_ACCESS_KEY": "s3/cr+t", "AWS_SESSION_TOKEN": "of/a+role="}
        with scripted([]) as (server, proxy):
            Task(tmp_path, Cloud("scripted", "s3", 0, None, {}), proxy).run(monkeypatch, keys)  # type: ignore[arg-type]
        ((asked, headers),) = server.asked
        url, _, query = asked.partition("?")
        ours = dict(parse_qsl(query))
        theirs = AWSRequest(method="GET", url=f"http://{headers['Host']}{url}")
        auth = S3SigV4QueryAuth(Credentials(*keys.values()), "s3", "us-east-1", expires=99)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.strptime(ours["X-Amz-Date"], STAMP))
        auth.add_auth(theirs)
        assert ours == dict(parse_qsl(theirs.url.partition("?")[2]))


class TestFaults:
    def test_a_stumble_is_not_seen(self, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        for how in (Break.SLOW_DOWN, Break.RESET, Break.CUT):
            task.proxy.breaks(how, "GET")
        assert task.run(monkeypatch, keys_of(task)) == ""
        assert task.package == PACKAGE
        assert len(task.proxy.passed) == 4

    @pytest.mark.parametrize("how", [Break.DENIED, Break.SLOW_DOWN])
    def test_what_stays_wrong_is_left_to_metaflow(
        self, how: Break, task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task.proxy.breaks(how, "GET", times=100)
        assert task.run(monkeypatch, keys_of(task)) == "pip boto3"
        assert task.package == b"theirs\n"
        assert len(task.proxy.passed) == (1 if how is Break.DENIED else 7)
        assert not any(secret in task.said for secret in task.cloud.secrets)

    def test_a_machine_without_credentials_waits_for_none(self, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        task.program = task.program.replace("http://169.254.169.254", "http://127.0.0.1:9")
        assert task.run(monkeypatch, {}) == "pip boto3"

    def test_no_library_is_installed_where_metaflow_would_install_none(
        self, task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task.proxy.breaks(Break.DENIED, "GET", times=100)
        assert task.run(monkeypatch, {**keys_of(task), "METAFLOW_SKIP_INSTALL_DEPENDENCIES": "1"}) == "boto3"

    def test_what_argo_runs_beside_the_steps_has_metaflows_libraries(
        self, task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert task.run(monkeypatch, keys_of(task), step="_run_heartbeat_daemon") == "pip boto3"


@contextmanager
def scripted(answers: list[Any]) -> Iterator[tuple[Scripted, Proxy]]:
    """A server that gives these answers, and then nothing but the code package; and a proxy in front of it."""
    server = Scripted()
    server.answers = [*answers, (200, {}, PACKAGE)]
    try:
        with proxied(server.server.port) as proxy:
            yield server, proxy
    finally:
        server.server.close()


def test_a_bucket_of_another_region_is_asked_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = (301, {"x-amz-bucket-region": "eu-west-1"}, b"<Error><Code>PermanentRedirect</Code></Error>")
    with scripted([moved]) as (server, proxy):
        task = Task(tmp_path, Cloud("scripted", "s3", 0, None, {}), proxy)  # type: ignore[arg-type]
        assert task.run(monkeypatch, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}) == ""
    assert task.package == PACKAGE
    regions = [re.findall(r"%2F(\w+-\w+-\d)%2Fs3%2F", path)[0] for path, _ in server.asked]
    assert regions == ["us-east-1", "eu-west-1"]
