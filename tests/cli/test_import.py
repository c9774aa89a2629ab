"""`envlock import`: what it writes and says, for people and for machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Envlock
from tests.index import Index
from tests.support import ProjectFolder


@pytest.fixture
def requirements(tmp_path: Path, index: Index) -> Path:
    """A requirements.txt with hashes, of `alpha` 1.1."""
    (name,) = [each for each in index.filenames("alpha") if each.startswith("alpha-1.1-")]
    path = tmp_path / "requirements.txt"
    path.write_text(f"-i {index.url}\nalpha==1.1 --hash=sha256:{index.artifact(name).sha256}\n")
    return path


def test_it_writes_an_environment_that_is_fresh_at_once(
    project: ProjectFolder, envlock: Envlock, requirements: Path
) -> None:
    ran = envlock("import", str(requirements), "--env", "mine", "--python", "3.12", "--arch", "linux-64")
    assert ran.stdout.splitlines()[0].startswith("linux-64: 1 package, CPython 3.12  envlock.lock/linux-64/")
    assert ran.stdout.splitlines()[-1] == "wrote [env.mine] into envlock.toml (new), and 1 lock"
    assert 'archs = ["linux-64"]' in project.config.read_text()
    envlock("check")
    assert "nothing changed" in envlock("lock").text


def test_json_names_the_locks_and_a_dry_run_writes_none(
    project: ProjectFolder, envlock: Envlock, requirements: Path
) -> None:
    found = envlock("import", str(requirements), "--python", "3.12", "--dry-run", "--json").json
    assert (found["format"], found["environment"], found["written"], found["new_config"], found["completed"]) == (
        "requirements.txt",
        "base",
        False,
        True,
        1,
    )
    assert [(each["arch"], each["packages"]) for each in found["locks"]] == [
        ("linux-64", 1),
        ("linux-aarch64", 1),
        ("osx-64", 1),
        ("osx-arm64", 1),
    ]
    assert not project.config.exists()
    assert not project.lock_folder.exists()


def test_it_writes_into_the_envlock_toml_that_is_there(
    project: ProjectFolder, envlock: Envlock, requirements: Path, tmp_path: Path
) -> None:
    project.write('[env.other.pypi]\npackages = { beta = "1.0" }  # ours\n', archs=["linux-64"])
    (project.folder / "below").mkdir()
    ran = envlock("import", str(requirements), "--python", "3.12", cwd=project.folder / "below")
    assert ran.stdout.splitlines()[-1].startswith("wrote [env.base] into ../envlock.toml, ")
    text = project.config.read_text()
    assert "# ours" in text
    assert "[env.base]" in text
    again = envlock("import", str(requirements), check=2)
    assert "environment-exists" in again.text
    assert "`--force`" in again.text
    project.config.write_text(project.config.read_text() + '\n[env.wider]\nenv = "base"\n')
    envlock("import", str(requirements), "--python", "3.12", "--force")
    envlock("check", "--env", "base")


def test_what_metaflow_lacks_is_told(project: ProjectFolder, envlock: Envlock, requirements: Path) -> None:
    told = envlock("import", str(requirements), "--python", "3.12").text
    assert "Metaflow needs requests" in told
    assert "`envlock add requests --env base`" in told


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("nothing.lock",), 2, "unreadable-import"),
        (("below",), 2, "unreadable-import"),
        (("odd.lock",), 2, "unknown-lock-format"),
        (("odd.lock", "--arch", "win-64"), 2, "unknown-arch"),
        (("odd.lock", "--env", " "), 2, "usage"),
        (("odd.lock", "--python", "3..1"), 2, "bad-version-specifier"),
        ((), 2, "usage"),
    ],
)
def test_a_wrong_call_has_an_error_of_its_own(
    project: ProjectFolder, envlock: Envlock, arguments: tuple[str, ...], status: int, code: str
) -> None:
    (project.folder / "below").mkdir()
    (project.folder / "odd.lock").write_text("odd\n")
    assert f"error[{code}]" in envlock("import", *arguments, check=status).stderr


def test_its_help_has_examples(envlock: Envlock) -> None:
    assert "envlock import conda-lock.yml" in envlock("import", "--help").stdout
