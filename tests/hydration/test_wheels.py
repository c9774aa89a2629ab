"""What a wheel says of itself is held against what its index said when it was locked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.config.selection import Selection
from envlock.errors import EnvlockError
from envlock.hydration import wheels
from envlock.hydration.errors import MisdescribedWheel
from envlock.hydration.wheels import check_metadata
from envlock.model.arch import LINUX_64, OSX_ARM64, host_arch
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.workflow.hydrate import find_lock, hydrate
from envlock.workflow.lock import lock
from envlock.workflow.push import push
from tests.index import Index, Release
from tests.support import ProjectFolder

SERIES = f"{sys.version_info.major}.{sys.version_info.minor}"
HEAD = "Metadata-Version: 2.1\nName: Alpha\nVersion: 1.0\n"


def package(name: str, version: str, *dependencies: str) -> LockedPackage:
    filename = f"{name}-{version}-py3-none-any.whl"
    return LockedPackage(
        name, version, filename, f"https://index.example/{filename}", "ab" * 32, dependencies=dependencies
    )


ALPHA = package("alpha", "1.0", "beta", "gamma")
LOCK = Lock(
    LINUX_64,
    Requirements(python=">=3.11"),
    LockedPython("machine", "3.11.2"),
    (ALPHA, package("beta", "1.5"), package("gamma", "2.0+cpu"), package("spare", "1")),
)
AGREES = "Requires-Dist: Beta>=1\nRequires-Dist: gamma (==2.0)\n"


def differences(lock: Lock, package: LockedPackage, text: str) -> Iterator[str]:
    return wheels.differences(lock, package, text, wheels.versions_of(lock))


@pytest.mark.parametrize(
    "text",
    [
        AGREES,
        AGREES.replace("\n", "\r\n"),
        AGREES + "Requires-Dist: more; extra == 'all'\n",
        AGREES + "Requires-Dist: more; sys_platform == 'win32' or platform_machine == 'arm64'\n",
        AGREES + "Requires-Dist: more; python_version < '3.11' and extra != 'x'\n",
        AGREES + "Requires-Dist: more; platform_release >= '99'\n",
        AGREES + "Requires-Dist: alpha[all]; extra == 'everything'\n",
        AGREES + "Requires-Dist: beta @ https://index.example/beta-9.whl\n",
        AGREES + "Requires-Dist: nobody (can read this\n",
        AGREES + "Requires-Python: >=3.6.*\n",
        AGREES + "Requires-Python: >=3.11,<4\n",
        AGREES + "\nThe description begins.\nRequires-Dist: more\nName: other\n",
    ],
)
def test_what_agrees(text: str) -> None:
    assert list(differences(LOCK, ALPHA, HEAD + text)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (AGREES + "Requires-Dist: more>=2\n", "the wheel needs `more>=2`, and no `more` is locked"),
        (AGREES + "Requires-Dist: more; os_name == 'posix'\n", "no `more` is locked"),
        (AGREES + "Requires-Dist: more; extra == 'x' or python_version >= '3.11'\n", "no `more` is locked"),
        (AGREES + "Requires-Dist: spare>1\n", "the wheel needs `spare>1`, and `spare` 1 is locked"),
        ("Requires-Dist: beta<1\nRequires-Dist: gamma\n", "the wheel needs `beta<1`, and `beta` 1.5 is locked"),
        ("Requires-Dist: beta\n", "it was locked with `gamma`, which the wheel does not need"),
        (AGREES + "Requires-Python: >=3.12\n", "the wheel is for Python >=3.12, and Python 3.11.2 is locked"),
    ],
)
def test_what_differs_is_said(text: str, said: str) -> None:
    (found,) = differences(LOCK, ALPHA, HEAD + text)
    assert said in found


@pytest.mark.parametrize(
    "text",
    [
        "Requires-Dist: x; " + "(" * 1500 + "os_name == 'posix'" + ")" * 1500,
        "Requires-Dist: x; " + "(" * 100_000,
        "Requires-Dist: x" + " " * 1_000_000 + "y",
        "Requires-Dist: " + ";" * 1_000_000,
        "Requires-Dist: x; " + "extra" * 800,
        "Requires-Dist: beta==" + "9" * 4000,
        "Requires-Python: >=" + "9" * 4000,
        "Requires-Dist: x; 'a' in extras",
        "Requires-Dist: x; python_version in os_name and 'x' ~= '1'",
        "Requires-Dist: \0\x1b]0;x\x07",
        "Requires-Dist:\nRequires-Python:\nName:\n",
        "\udcff" * 10,
    ],
)
def test_no_text_ends_in_anything_else(text: str) -> None:
    began = time.monotonic()
    found = list(differences(LOCK, replace(ALPHA, dependencies=()), f"{text}\n"))
    assert time.monotonic() - began < 5
    assert all(len(each) < 10_000 for each in found)


@pytest.mark.parametrize("head", ["Name: alphaa\nVersion: 1.0\n", "Name: alpha\nVersion: 1.0.1\n"])
def test_the_wheel_of_another_release(head: str) -> None:
    (found,) = differences(LOCK, ALPHA, head + AGREES)
    assert found.startswith("the wheel is of `alpha")


def test_each_arch_has_its_own_needs() -> None:
    mac = HEAD + AGREES + "Requires-Dist: more; sys_platform == 'darwin' and platform_machine == 'arm64'\n"
    assert list(differences(LOCK, ALPHA, mac)) == []
    assert len(list(differences(replace(LOCK, arch=OSX_ARM64), ALPHA, mac))) == 1


def test_what_conda_packages_may_provide_is_not_missed() -> None:
    conda = replace(package("more", "1"), kind="conda")
    mixed = replace(LOCK, packages=(conda, *LOCK.packages))
    assert list(differences(mixed, ALPHA, HEAD + AGREES + "Requires-Dist: more\nRequires-Dist: other\n")) == []


def test_an_override_stands_in_place_of_what_a_wheel_needs() -> None:
    text = HEAD + AGREES + "Requires-Dist: more<1\nRequires-Dist: left-out\n"
    assert len(list(differences(LOCK, ALPHA, text))) == 2
    overrides = tuple(map(parse_requirement, ("more>=1", "left-out ; python_version < '0'")))
    overridden = replace(LOCK, requirements=LOCK.requirements._replace(overrides=overrides))
    assert list(differences(overridden, ALPHA, text)) == []


def test_a_wheel_that_says_nothing_is_for_others_to_judge() -> None:
    check_metadata(LOCK, {"alpha": ""})


def test_the_error_names_both() -> None:
    with pytest.raises(MisdescribedWheel) as caught:
        check_metadata(LOCK, {"alpha": HEAD, "elsewhere": ""})
    assert caught.value.exit_status == 3
    assert caught.value.details[:2] == ("index: index.example", f"wheel: {ALPHA.filename}")
    assert len(caught.value.differences) == 2
    assert '`alpha = "!=1.0"`' in str(caught.value.hint)


LIES = {
    "hides": Release("teller", "1.0", ("lam",), said=Release("teller", "1.0")),
    "adds": Release("teller", "1.0", said=Release("teller", "1.0", ("lam",))),
}
LAM = Release("lam", "1.0")


@pytest.fixture(params=LIES)
def lied_to(request: pytest.FixtureRequest, make_index: Callable[..., Index], tmp_path: Path) -> ProjectFolder:
    """A project that was locked from an index whose metadata is not that of its wheel."""
    served = make_index(LIES[request.param], LAM, Release("honest", "1.0"))
    project = ProjectFolder.make(tmp_path / "project", served.url)
    tables = "".join(
        f'[env.{name}.pypi]\npython = "{SERIES}"\npackages = {{ {name} = "1.0" }}\n' for name in ("teller", "honest")
    )
    project.write(tables, settings='cache = "../cache"', archs=[host_arch()])
    lock(load_project(project.config))
    return project


def test_a_push_withholds_what_was_misdescribed(lied_to: ProjectFolder) -> None:
    project = load_project(lied_to.config)
    result = push(project)
    (error,) = result.failures
    assert isinstance(error, MisdescribedWheel)
    assert "teller-1.0-py3-none-any.whl" in error.render()
    assert len(result.withheld) == 1
    assert result.written == 1, "the other environment"


def test_an_environment_is_not_made_of_what_was_misdescribed(lied_to: ProjectFolder) -> None:
    project = load_project(lied_to.config)
    made: list[Path] = []
    failed: list[EnvlockError] = []
    for each in Selection().choose(project):
        found = find_lock(project, each, host_arch())
        try:
            made.append(hydrate(project, found))
        except EnvlockError as error:
            failed.append(error)
    assert len(made) == 1
    assert [type(error) for error in failed] == [MisdescribedWheel]
    assert len(list(made[0].parent.glob("metaflow_*"))) == 1, "nothing is left of the other"
