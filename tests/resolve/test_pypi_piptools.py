"""What is pip-tools' alone; what it has in common with every resolver is in tests/contract."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from envlock.__main__ import main
from envlock.model.arch import ARCHS, host_arch
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.resolve import pypi_piptools
from envlock.resolve.errors import (
    NoSolution,
    ResolverCannot,
    ResolverNotInstalled,
    UnexpectedAnswer,
    merge_archs,
)
from envlock.resolve.port import Request
from envlock.resolve.processes import Processes
from envlock.resolve.pypi_piptools import PipToolsResolver
from tests.index import Index
from tests.support import ProjectFolder

HERE = host_arch()
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
SECRET = "s3cr3t-t0ken"


def request_for(url: str, *roots: str, **more: Any) -> Request:
    requirements = Requirements(pypi=tuple(parse_requirement(root) for root in roots), default_index=url)
    given = {"arch": HERE, "python": f"{RUNNING}.0", "default_index_url": url, **more}
    return Request(name="demo", requirements=requirements, **given)


class Watched(Processes):
    """Notes the commands and variables of what it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[tuple[list[str], dict[str, str]]] = []

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], *, folder: Path | None = None, given: str = ""
    ) -> CompletedProcess[str]:
        self.ran.append((list(command), dict(environment)))
        return super().run(command, environment, folder=folder, given=given)


def watched() -> tuple[PipToolsResolver, Watched]:
    resolver = PipToolsResolver()
    resolver._processes = Watched()
    return resolver, resolver._processes


def test_it_is_pip_that_decides(index: Index) -> None:
    resolver, processes = watched()
    resolver.resolve(request_for(index.url, "alpha"))
    ((command, variables),) = processes.ran
    assert command[:4] == [sys.executable, "-m", "envlock.resolve.pip_compile_process", f"{RUNNING}.0"]
    assert variables["PIP_CONFIG_FILE"] == "/dev/null"


def test_credentials_are_on_no_command_line(private_index: Index) -> None:
    resolver, processes = watched()
    resolver.resolve(request_for(private_index.url_with("reader", SECRET), "alpha"))
    assert processes.ran
    assert not [word for command, _ in processes.ran for word in command if SECRET in word]


def test_an_index_over_http_is_taken_at_its_word(index: Index) -> None:
    request = request_for("http://me:pw@index.example:8080/simple/", "alpha")
    variables = pypi_piptools._environment(Path("/nowhere"), request)
    assert variables["PIP_TRUSTED_HOST"] == "index.example"
    assert "PIP_TRUSTED_HOST" not in pypi_piptools._environment(Path("/nowhere"), request_for(index.url, "alpha"))
    assert "PIP_TRUSTED_HOST" not in pypi_piptools._environment(
        Path("/nowhere"), request_for("https://index.example/simple/", "alpha")
    )


def test_a_pip_that_does_not_know_times_is_refused(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pypi_piptools, "pip_version", lambda: (25, 3))
    assert PipToolsResolver().resolve(request_for(index.url, "lam")).packages
    with pytest.raises(ResolverCannot) as caught:
        PipToolsResolver().resolve(request_for(index.url, "lam", exclude_newer="2023-01-01T00:00:00Z"))
    assert "pip 25.3" in caught.value.render()
    assert "pip install --upgrade pip" in (caught.value.hint or "")


def test_other_archs_are_one_error(index: Index) -> None:
    errors = []
    for arch in ARCHS:
        if arch != HERE:
            with pytest.raises(ResolverCannot) as caught:
                PipToolsResolver().resolve(request_for(index.url, "lam", arch=arch))
            errors.append(caught.value)
    (error,) = merge_archs(errors)
    others = ", ".join(arch for arch in ARCHS if arch != HERE)
    assert error.message.startswith(f"demo on {others}: ")
    assert HERE in error.message


def test_what_uv_can_and_pip_cannot_is_said_in_pips_words(index: Index) -> None:
    resolver = PipToolsResolver()

    class Failing(Processes):
        def run(self, command: Sequence[str], *_: object, **__: object) -> CompletedProcess[str]:
            said = (
                f"ERROR: http://me:{SECRET}@index.example/ is odd\nTraceback (most recent call last):\n  File\nOdd: odd"
            )
            return CompletedProcess(command, 1, "", said)

    resolver._processes = Failing()
    with pytest.raises(UnexpectedAnswer) as caught:
        resolver.resolve(request_for(index.url, "lam"))
    assert caught.value.details == ("ERROR: http://index.example/ is odd", "Odd: odd")
    with pytest.raises(NoSolution):
        resolver.resolve(request_for(index.url, "alpha>=2", "theta"))


def test_without_its_package_there_is_no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "piptools", None)
    with pytest.raises(ResolverNotInstalled) as caught:
        PipToolsResolver()
    assert caught.value.hint == "pip install 'envlock[pip-tools]'"
    assert '`resolver.pypi = "pip-tools"`' in caught.value.message


def test_its_package_in_an_older_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "7.5.3")
    with pytest.raises(ResolverNotInstalled, match=r"needs pip-tools 7\.6 or later; found 7\.5\.3"):
        PipToolsResolver()


@pytest.mark.usefixtures("preloaded_resolvers")
def test_a_project_that_chooses_it(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.folder)
    other = next(arch for arch in ARCHS if arch != HERE)
    project.write_env("alpha", python=RUNNING, settings='resolver = { pypi = "pip-tools" }', archs=(HERE, other))
    assert main(["lock"]) == 4
    said = capsys.readouterr().err
    assert f"error[resolver-cannot]: demo on {other}: " in said
    assert f'archs = ["{HERE}"]' in said
    assert project.locks == ()
    project.write_env("alpha", python=RUNNING, settings='resolver = { pypi = "pip-tools" }', archs=(HERE,))
    assert main(["lock"]) == 0
    assert project.pins(HERE) == {"alpha": "2.0", "beta": "2.0"}
    assert main(["check"]) == 0
