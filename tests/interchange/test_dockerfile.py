"""The Dockerfile that is exported: what it copies, its secrets, and that following it makes the environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.interchange.dockerfile import BuildContext
from envlock.interchange.errors import FormatCannotHold
from envlock.interchange.exported import Given, export
from envlock.lockfile.rows import LockRows
from envlock.model.arch import LINUX_64, host_arch
from envlock.workflow.export import Exported, export_environment
from tests.conftest import ProjectFolder
from tests.interchange.test_exported import CONDA, EXACT
from tests.pods.docker import PROGRAMS, SOCKET, client, daemon, image_series, is_set_up
from tests.pods.pod import image_of
from tests.support import ENVLOCK, run_envlock

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="images have Linux")

ROOT = Path(__file__).parents[2]
SERIES = f"{sys.version_info.major}.{sys.version_info.minor}"
TAG = "envlock-exported:test"
SECRET = "s3cr3t-$t0ken"
STEP = """\
[flow.TrainFlow]
file = "flows/train flow.py"
[flow.TrainFlow.step.train]
pypi = {{ python = "{series}", packages = {{ alpha = "1.1" }} }}
"""
OTHERS = "".join(f"[flow.TrainFlow.step.{step}]\ndisabled = true\n" for step in ("start", "end"))


def write_project(project: ProjectFolder, *, settings: str = "", more: str = "", series: str = SERIES) -> None:
    """A flow in a folder below, with one step that has an environment; locked for this machine."""
    (project.folder / "flows").mkdir()
    path = project.write_flow("TrainFlow", steps=("start", "train", "end"))
    path.rename(project.folder / "flows" / "train flow.py")
    project.write(STEP.format(series=series) + OTHERS + more, archs=[host_arch()], settings=settings)
    run_envlock("lock", cwd=project.folder)


def exported(project: ProjectFolder) -> Exported:
    return export_environment(load_project(project.config), "dockerfile", step="train")


def stages(text: str) -> list[list[tuple[str, list[str] | str]]]:
    """The instructions of each stage; of COPY, its words."""
    found: list[list[tuple[str, list[str] | str]]] = []
    text = re.sub(r" \\\n *", " ", text)
    for line in re.sub(r"--mount=\S+ ", "", text).splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            found.append([])
        elif instruction == "COPY":
            found[-1].append((instruction, json.loads(rest) if rest.startswith("[") else rest.split()))
        elif line and not line.startswith("#"):
            found[-1].append((instruction, rest))
    return found


def follow(stage: list[tuple[str, list[str] | str]], image: Path, context: Path) -> dict[str, str]:
    """Do what a stage says in a folder that is its image; the variables that it sets."""
    place, variables = image, dict[str, str]()
    for instruction, rest in stage:
        if instruction == "COPY":
            *sources, target = (word for word in rest if not word.startswith("--from"))
            for source in sources:
                found = context / source.lstrip("/")
                to = place / target.lstrip("/") if target.startswith("/") else place / target
                if found.is_dir() and not found.is_symlink():
                    shutil.copytree(found, to, symlinks=True, dirs_exist_ok=True)
                else:
                    to.mkdir(parents=True, exist_ok=True) if target.endswith("/") else None
                    shutil.copy2(found, to, follow_symlinks=False)
            continue
        assert isinstance(rest, str)
        if instruction == "WORKDIR":
            place = image / rest.lstrip("/")
            place.mkdir(parents=True)
        elif instruction == "ENV":
            variables.update(word.split("=", 1) for word in shlex.split(rest))
        elif not rest.startswith("pip install"):
            assert instruction == "RUN"
            command = rest.replace(" /opt", f" {shlex.quote(str(image))}/opt")
            command = command.replace("envlock create", f"{ENVLOCK} create")
            (image / "opt").mkdir(exist_ok=True)
            subprocess.run(["sh", "-ec", command], check=True, capture_output=True, cwd=place, env=dict(os.environ))
    return variables


def test_following_it_makes_the_environment_from_what_it_copies_alone(project: ProjectFolder, tmp_path: Path) -> None:
    write_project(project)
    (project.folder / "unrelated.bin").write_bytes(b"x")
    found = exported(project)
    assert str(project.folder) not in found.export.text
    building, final = stages(found.export.text)
    image = tmp_path / "image"
    follow(building, image, project.folder)
    assert not (image / "project" / "unrelated.bin").exists()
    shutil.rmtree(image / "project")
    # The second stage has the folder at the same path, as a new copy.
    shutil.move(image, tmp_path / "built")
    image.mkdir()
    variables = follow(final, image, tmp_path / "built")
    assert variables["PATH"].startswith("/opt/environment/bin:")
    assert variables["ENVLOCK_PREBUILT"] == "/opt/envlock"
    python = image / "opt" / "environment" / "bin" / "python"
    ran = subprocess.run([python, "-c", "import alpha; print(alpha.__version__)"], capture_output=True, check=True)
    assert ran.stdout == b"1.1\n"


def test_credentials_are_secrets_of_the_build(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_TOKEN", "s3cr3t-t0ken")
    write_project(project)
    settings = 'cache = "s3://team/envlock"\nindexes = { own = "https://me:${TEAM_TOKEN}@own.example/simple" }\n'
    text = project.config.read_text()
    project.config.write_text(text.replace("[envlock]\n", f"[envlock]\n{settings}", 1))
    said = exported(project).export.text
    assert "s3cr3t" not in said
    assert "# syntax=" not in said, "the frontend of docker 20.10 serves, and none has to be pulled"
    assert "'envlock[s3]==" in said
    for name in ("TEAM_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert f"--mount=type=secret,id={name} " in said
        assert f"--secret id={name},env={name} " in said
    assert re.search(r"--mount=type=secret,id=netrc,target=/\S+/\.netrc ", said)


def test_a_build_gets_the_team_file_and_is_told_of_a_cache_that_only_this_machine_knows(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(project)
    (project.folder / "team.toml").write_text('[envlock]\ncache = "s3://team/envlock"\n')
    text = project.config.read_text().replace("[envlock]\n", '[envlock]\nextends = "team.toml"\n', 1)
    project.config.write_text(text)
    said = exported(project).export.text
    (copied,) = (line for line in said.splitlines() if line.startswith("COPY") and "envlock.toml" in line)
    assert "team.toml" in copied
    assert "ENVLOCK_CACHE" not in said
    monkeypatch.setenv("ENVLOCK_CACHE", "s3://machine/envlock")
    monkeypatch.setenv("ENVLOCK_CACHE_OPTIONS", "endpoint=https://objects.example region=eu-1 profile=mia")
    building, final = exported(project).export.text.split("\n\n")[1:]
    assert 'ENV ENVLOCK_CACHE="s3://machine/envlock"\n' in building
    assert 'ENV ENVLOCK_CACHE_OPTIONS="endpoint=https://objects.example region=eu-1"\n' in building
    assert "ENVLOCK_CACHE" not in final
    monkeypatch.setenv("ENVLOCK_CACHE", "s3://${BUCKET}/envlock")
    assert "BUCKET" not in exported(project).export.text


def test_what_no_container_can_be_is_refused(project: ProjectFolder) -> None:
    project.write_env("alpha", archs=["osx-arm64"])
    run_envlock("lock", cwd=project.folder)
    with pytest.raises(FormatCannotHold, match="arch"):
        export_environment(load_project(project.config), "dockerfile")


def test_files_outside_of_the_project_are_refused(project: ProjectFolder) -> None:
    (project.folder.parent / "requirements.txt").write_text("alpha==1.1\n")
    project.write('[env.demo]\nrequirements = "../requirements.txt"\n', archs=[host_arch()])
    run_envlock("lock", cwd=project.folder)
    with pytest.raises(FormatCannotHold) as refused:
        export_environment(load_project(project.config), "dockerfile")
    assert "../requirements.txt" in refused.value.details[0]


def test_variables_are_set_as_they_are(project: ProjectFolder) -> None:
    (project.folder / "environment.yml").write_text(
        "dependencies:\n  - pip:\n    - alpha==1.1\nvariables:\n  GREETING: 'say \"$HOME\" \\'\n"
    )
    project.write('[env.demo]\nenvironment-yml = "environment.yml"\n', archs=[host_arch()])
    run_envlock("lock", cwd=project.folder)
    found = export_environment(load_project(project.config), "dockerfile").export.text
    assert 'ENV GREETING="say \\"\\$HOME\\" \\\\"\n' in found
    assert "COPY envlock.toml environment.yml ./" in found or "COPY environment.yml envlock.toml ./" in found


@pytest.mark.slow
@pytest.mark.index
def test_docker_builds_it_and_the_image_has_the_environment_and_no_secret(
    project: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_set_up():
        pytest.skip("docker is not set up for the tests: run `make setup-pods` as root")
    series = image_series()[-1]
    write_project(project, series=series)
    settings = 'indexes = { own = "https://me:${TEAM_TOKEN}@own.example/simple" }\n'
    project.config.write_text(project.config.read_text().replace("[envlock]\n", f"[envlock]\n{settings}", 1))
    monkeypatch.setenv("TEAM_TOKEN", SECRET)
    monkeypatch.setenv("DOCKER_BUILDKIT", "1")
    context = tmp_path / "context"
    shutil.copytree(project.folder, context)
    # In place of an index that has envlock: this one, with what it needs.
    installed = context / "installed"
    wanted = [each for each in metadata.requires("envlock") or [] if "extra" not in each]
    uv = [str(Path(sys.executable).with_name("uv")), "--quiet", "--no-config", "pip", "install", "--target", installed]
    subprocess.run([*uv, "--python-version", series, "--only-binary", ":all:", *wanted], check=True)
    for package in ("envlock", "metaflow_extensions"):
        shutil.copytree(ROOT / "src" / package, installed / package)
    command = installed / "bin" / "envlock"
    command.parent.mkdir(exist_ok=True)
    lines = ["#!/usr/bin/env python", "import os", f"assert os.environ['TEAM_TOKEN'] == {SECRET!r}"]
    lines += ["assert open(os.path.expanduser('~/.netrc')).read() == 'machine own.example\\n'"]
    command.write_text("\n".join([*lines, "from envlock.__main__ import main", "main()", ""]))
    command.chmod(0o755)
    text = re.sub(r"python:\S+", image_of(series), exported(project).export.text)
    text = re.sub(
        r"RUN pip install .*",
        "COPY installed /installed\nENV PYTHONPATH=/installed PATH=/installed/bin:/usr/local/bin:/usr/bin:/bin",
        text,
    )
    (context / "Dockerfile").write_text(text)
    (tmp_path / "netrc").write_text("machine own.example\n")
    docker = [str(PROGRAMS / "usr" / "bin" / "docker"), f"--host=unix://{SOCKET}"]
    secrets = ["--secret=id=TEAM_TOKEN,env=TEAM_TOKEN", f"--secret=id=netrc,src={tmp_path / 'netrc'}"]
    with daemon():
        build = [*docker, "build", "--network=host", "--progress=plain", *secrets, f"--tag={TAG}", str(context)]
        built = subprocess.run(build, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr[-3000:]
        try:
            packed = subprocess.run([*docker, "save", TAG], capture_output=True, check=True).stdout
            assert SECRET.encode() not in packed
            out = client().containers.run(
                TAG,
                ["python", "-c", "import alpha, sys; print(alpha.__version__, sys.prefix)"],
                remove=True,
                network_mode="none",
            )
        finally:
            client().images.remove(TAG, force=True)
    version, prefix = out.decode().split()
    assert version == "1.1"
    assert prefix.startswith("/opt/env")


def dockerfile_of(lock: LockRows) -> str:
    """The Dockerfile of a lock in a project of one file."""
    context = BuildContext("--env base", ("envlock.toml",), ("envlock.lock",))
    return export(Given("dockerfile", "base", (lock,), context=context)).text


def test_an_environment_with_its_own_python_needs_none_of_the_image() -> None:
    building, final = (part.splitlines() for part in dockerfile_of(CONDA).split("\n\n")[1:])
    assert building[0] == "FROM python:3.12-slim AS environment"
    assert final[0] == "FROM debian:12-slim"
    assert any("CONDA_PREFIX=/opt/environment" in line for line in final)
    assert "FROM debian:12-slim\n" in dockerfile_of(EXACT._replace(arch=LINUX_64))
    assert "--force" not in dockerfile_of(EXACT._replace(arch=LINUX_64))


def test_an_image_has_the_whole_environment() -> None:
    context = BuildContext("--env base", ("envlock.toml",), ("envlock.lock",))
    with pytest.raises(FormatCannotHold, match="one kind"):
        export(Given("dockerfile", "base", (CONDA,), only="pypi", context=context))


def test_no_name_is_taken_for_a_directive_of_the_builder() -> None:
    for variables in ((), ("TOKEN",)):
        context = BuildContext("--env 'escape=`'", ("envlock.toml",), ("envlock.lock",), variables=variables)
        lines = export(Given("dockerfile", "escape=`", (CONDA,), context=context)).text.splitlines()
        assert lines[0] == "# An image with a locked environment."
    with pytest.raises(FormatCannotHold, match="control"):
        export(Given("dockerfile", "a\nb", (CONDA,), context=context._replace(choice="--env 'a\nb'")))


def test_a_build_does_not_look_for_the_gpu_that_a_lock_requires() -> None:
    requirements = {**CONDA.requirements, "system": [["linux-64", "__cuda", "12.4"]]}
    assert "--into /opt/envlock --force)" in dockerfile_of(CONDA._replace(requirements=requirements))
