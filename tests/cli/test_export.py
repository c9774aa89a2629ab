"""`envlock export`: which environment, which archs, where the text goes, and how it fails."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envlock.interchange.exported import FORMATS
from envlock.places import home
from tests.conftest import Envlock, ProjectFolder
from tests.index import Index, Release
from tests.support import TWO_ARCHS, Ran, isolation, own_project, run_envlock


@pytest.fixture
def locked(project: ProjectFolder, locked_once: Path) -> ProjectFolder:
    """A project with one environment, locked for two archs."""
    shutil.copytree(locked_once, project.folder, dirs_exist_ok=True)
    return project


@pytest.fixture(scope="module")
def locked_once(new_folder: Callable[[str], Path], index: Index, shared_uv_cache: Path) -> Path:
    project = ProjectFolder.make(new_folder("locked") / "project", index.url)
    project.write_env("alpha==1.1", name="base")
    with isolation(new_folder("home"), shared_uv_cache):
        run_envlock("lock", cwd=project.folder)
    return project.folder


def test_an_export_goes_to_stdout_or_into_a_file_and_says_which_lock_it_is(locked: ProjectFolder) -> None:
    folder = locked.folder
    text = run_envlock("export", "--format", "requirements", cwd=folder).stdout
    assert "alpha==1.1" in text
    assert all(arch in text for arch in TWO_ARCHS)

    written = run_envlock("export", "--format=requirements", "-o", "out.txt", cwd=folder)
    assert (folder / "out.txt").read_text() == text
    assert (written.stdout, "out.txt" in written.stderr) == ("", True)

    one = run_envlock("export", "--env", "base", "--arch", TWO_ARCHS[1], "-o", "pylock.toml", "--json", cwd=folder)
    assert one.json["format"] == "pylock"
    assert [each["arch"] for each in one.json["locks"]] == [TWO_ARCHS[1]]
    assert (one.json["file"], one.json["text"]) == (str(folder / "pylock.toml"), None)
    assert one.json["locks"][0]["identity"] in (folder / "pylock.toml").read_text()

    alone = run_envlock("export", "--format", "environment-yml", "--json", cwd=folder).json
    assert [each["arch"] for each in alone["locks"]] == [TWO_ARCHS[0]]
    assert alone["text"].startswith("# base on ")
    assert alone["notes"]

    # What is exported has no place of this machine in it, and nobody else's either.
    for each in (text, alone["text"], (folder / "pylock.toml").read_text()):
        assert str(folder) not in each
        assert os.environ["HOME"] not in each


def test_a_command_line_that_is_wrong_writes_nothing(locked: ProjectFolder, tmp_path: Path) -> None:
    before = locked.snapshot()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def code(*arguments: str, status: int = 2) -> str:
        return str(run_envlock("export", *arguments, "--json", cwd=locked.folder, check=status).json["error"]["code"])

    assert code() == "usage"
    assert code("--format", "wheelhouse") == "usage"
    assert code("--format", "pylock", "-o", "envlock.toml") == "usage"
    assert code("--format", "pylock", "-o", str(locked.locks[0])) == "usage"
    assert code("--format", "pylock", "-o", ".") == "usage"
    assert code("--format", "pylock", "-o", str(pipe)) == "usage"
    assert pipe.is_fifo()
    assert code("--format", "pylock", "-o", "no/such/folder.toml") == "usage"
    assert code("--format", "pylock", "-o", "x" * 300) == "machine-refused"
    assert code("--format", "pylock", "--env", "bsae") == "no-such-selection"
    assert code("--format", "pylock", "--arch", "linux-46") == "unknown-arch"
    assert code("--format", "pixi") == "format-cannot-hold"
    assert code("--format", "environment-yml", "--arch", TWO_ARCHS[0], "--arch", TWO_ARCHS[1]) == "format-cannot-hold"
    assert code("--format", "pylock", "--arch", "osx-64", status=1) == "arch-not-locked"
    assert locked.snapshot() == before


def test_what_a_link_leads_to_is_written_and_no_file_of_the_project_is(locked: ProjectFolder) -> None:
    place = locked.folder / "elsewhere"
    place.mkdir()
    (locked.folder / "linked.txt").symlink_to(place / "out.txt")
    (locked.folder / "circle.txt").symlink_to("circle.txt")
    run_envlock("export", "--format", "constraints", "-o", "circle.txt", cwd=locked.folder)
    run_envlock("export", "--format", "constraints", "-o", "linked.txt", cwd=locked.folder)
    assert (locked.folder / "linked.txt").is_symlink()
    assert "alpha==1.1" in (place / "out.txt").read_text()
    (locked.folder / "same.toml").symlink_to("envlock.toml")
    refused = run_envlock("export", "--format", "pylock", "-o", "same.toml", "--json", cwd=locked.folder, check=2)
    assert refused.json["error"]["code"] == "usage"


def test_no_file_that_a_package_is_built_from_is_written(locked: ProjectFolder) -> None:
    libs = locked.folder / "libs"
    libs.mkdir()
    (libs / "pyproject.toml").write_text('[project]\nname = "common"\nversion = "1"\n')
    (libs / "common.py").write_text("")
    (libs / ".gitignore").write_text("*.out\n")
    locked.config.write_text(f'{locked.config.read_text()}[env.libs.pypi.packages]\ncommon = {{ path = "libs" }}\n')

    def run(path: str, status: int) -> Ran:
        return run_envlock(
            *("export", "--env", "base", "--format", "pylock", "-o", path), cwd=locked.folder, check=status
        )

    assert "libs/common.py" in run("libs/common.py", 2).stderr
    assert (libs / "common.py").read_text() == ""
    assert "which is built" in run("libs/new.toml", 0).stderr
    assert "which is built" not in run("libs/a.out", 0).stderr


def test_what_is_not_freshly_locked_is_not_exported(locked: ProjectFolder) -> None:
    locked.edit("alpha", "beta")
    ran = run_envlock("export", "--format", "pylock", "--json", cwd=locked.folder, check=1)
    assert ran.json["error"]["code"] in {"stale-lock", "not-locked"}
    locked.edit("beta", "alpha")
    path = locked.lock_of(TWO_ARCHS[0])
    path.write_text(path.read_text().replace("alpha-1.1", "alpha-1.2"))
    run_envlock("export", "--format", "pylock", cwd=locked.folder, check=3)


def test_an_sbom_has_the_licenses_of_wheels_that_are_here_and_of_all_where_that_is_asked_for(
    make_index: Callable[..., Index], tmp_path: Path
) -> None:
    served = make_index(Release("marked", "1.0", license="Apache-2.0"))
    project = own_project(tmp_path, served)
    project.write_env("marked")
    run_envlock("lock", cwd=project.folder)
    served.forget()

    def export(*arguments: str) -> tuple[dict[str, Any], str]:
        ran = run_envlock("export", "--format", "cyclonedx", *arguments, cwd=project.folder)
        (component,) = json.loads(ran.stdout)["components"]
        return component, ran.stderr

    component, said = export()
    assert "licenses" not in component
    assert "--licenses" in said
    assert served.downloads() == ()

    component, said = export("--licenses")
    assert component["licenses"] == [{"expression": "Apache-2.0", "acknowledgement": "declared"}]
    assert "--licenses" not in said
    assert export()[0] == component
    shutil.rmtree(home() / "packages")
    run_envlock("env", "gc", "--packages", "--delete", cwd=project.folder)
    assert export()[0] == component, "what was read of a wheel is noted, and what was noted lately stays"
    (note,) = (home() / "licenses").iterdir()
    note.write_bytes(b"\xff" + note.read_bytes())
    assert "licenses" not in export()[0]
    refused = run_envlock("export", "--format", "pylock", "--licenses", "--json", cwd=project.folder, check=2)
    assert refused.json["error"]["code"] == "usage"


def test_a_shell_completes_the_formats() -> None:
    from envlock.cli.export import export

    (option,) = (each for each in export.options if each.name == "--format")
    assert tuple(option.choices) == tuple(FORMATS)  # type: ignore[union-attr]


def test_a_step_is_exported_by_its_name(project: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
    project.write_flow(steps=("start", "end"))
    project.write(
        '[flow.DemoFlow]\nfile = "demoflow.py"\n[flow.DemoFlow.step.start]\npypi = { packages = { alpha = "1.0" } }\n'
        "[flow.DemoFlow.step.end]\ndisabled = true\n",
    )
    envlock("lock")
    text = envlock("export", "--step", "start", "--format", "constraints").stdout
    assert "alpha==1.0" in text
    assert text.startswith("# DemoFlow/start on ")
    refused = envlock("export", "--flow", "DemoFlow", "--step", "end", "--format", "pylock", "--json", check=2)
    assert refused.json["error"]["code"] == "step-disabled"


def test_a_file_that_the_project_reads_is_not_written_over(project: ProjectFolder, envlock: Envlock) -> None:
    named = project.folder / "requirements.txt"
    named.write_text("alpha>=1\n")
    project.write('[env.base]\nrequirements = "requirements.txt"\n')
    envlock("lock")
    refused = envlock("export", "-o", "requirements.txt", "--json", check=2)
    assert refused.json["error"]["code"] == "usage"
    assert named.read_text() == "alpha>=1\n"
    envlock("export", "--format", "requirements", "-o", "locked.txt")
    assert "--hash=sha256:" in (project.folder / "locked.txt").read_text()


def test_no_export_has_a_credential(private_index: Index, tmp_path: Path) -> None:
    name, secret = "reader", "s3cr3t-t0ken"
    project = own_project(tmp_path, private_index)
    settings = f'index-url = "{private_index.url_with(name, secret)}"'
    project.write_env("alpha==1.1", "beta==1.5", settings=settings, archs=TWO_ARCHS[:1])
    run_envlock("lock", cwd=project.folder)
    for each, held in FORMATS.items():
        if "pypi" in held.kinds and not held.needs_python:
            ran = run_envlock("export", "--format", each, cwd=project.folder)
            assert "alpha" in ran.stdout or held.is_image
            assert secret not in ran.text
            assert f"{name}:" not in ran.text
