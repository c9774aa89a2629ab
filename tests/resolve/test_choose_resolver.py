"""Which resolver a project gets, and that its locks do not tell."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envlock.__main__ import main
from envlock.config.settings import Resolvers, Settings
from envlock.model.arch import host_arch
from envlock.resolve.choose_resolver import conda_resolver, pypi_resolver, resolver_for
from envlock.resolve.conda_lock import CondaLockResolver
from envlock.resolve.conda_rattler import CondaResolver
from envlock.resolve.errors import ResolverNotInstalled
from envlock.resolve.mixed import ByType
from envlock.resolve.pypi_piptools import PipToolsResolver
from envlock.resolve.pypi_uv import UvResolver
from tests.channel import Channel
from tests.support import ProjectFolder

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_the_defaults_are_uv_and_py_rattler() -> None:
    assert isinstance(resolver_for(Settings()), ByType)
    assert isinstance(pypi_resolver(Settings()).inner, UvResolver)
    assert isinstance(conda_resolver(Settings()), CondaResolver)


def test_the_settings_choose() -> None:
    chosen = Settings(resolver=Resolvers("conda-lock", "pip-tools"))
    assert isinstance(pypi_resolver(chosen).inner, PipToolsResolver)
    assert isinstance(conda_resolver(chosen), CondaLockResolver)


@pytest.mark.parametrize(
    ("settings", "module"),
    [
        (Settings(resolver=Resolvers("conda-lock")), "conda_lock"),
        (Settings(resolver=Resolvers(pypi="pip-tools")), "piptools"),
    ],
)
def test_a_missing_package_is_reported_before_anything_is_resolved(
    settings: Settings, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ResolverNotInstalled):
        resolver_for(settings)


@pytest.mark.usefixtures("preloaded_resolvers")
def test_a_lock_does_not_tell_which_resolver_made_it(
    conda_project: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do its ids: the same packages are the same environment."""
    monkeypatch.chdir(conda_project.folder)
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", "")
    made: dict[str, tuple[Path, ...]] = {}
    for resolver in ("rattler", "conda-lock"):
        conda_project.write_conda_env(
            "upper", "lower =1", settings=f'resolver = {{ conda = "{resolver}" }}', archs=("linux-64", "osx-arm64")
        )
        for lock in conda_project.locks:
            lock.unlink()
        assert main(["lock"]) == 0
        made[resolver] = conda_project.locks
        assert main(["check"]) == 0
    assert len(made["rattler"]) == 2
    assert made["conda-lock"] == made["rattler"]


@pytest.mark.usefixtures("preloaded_resolvers")
def test_a_mixed_environment_by_the_other_two(
    conda_project: ProjectFolder, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    if RUNNING not in channel.series:
        pytest.skip(f"pip-tools solves for the Python that runs it, and the channel has no {RUNNING}")
    both = 'resolver = { conda = "conda-lock", pypi = "pip-tools" }'
    conda_project.write_conda_env("alpha", pypi=("zeta[fast]",), python=RUNNING, settings=both, archs=(host_arch(),))
    monkeypatch.chdir(conda_project.folder)
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", "")
    assert main(["lock"]) == 0
    assert conda_project.pins(host_arch()) == {"zeta": "1.0"}  # beta, which it wants, comes with conda's alpha
    assert main(["check"]) == 0
