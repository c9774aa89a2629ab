"""`envlock image` as a command: what it says, in words and as JSON, and how it ends where it cannot go on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envlock.cli.image import as_lines
from envlock.image.docker_login import DockerLogin
from envlock.image.references import ImageReference
from envlock.model.arch import LINUX_64, LINUX_AARCH64, host_arch
from envlock.places import home
from envlock.workflow.images import ImagePushed, LayerPushed
from tests.cli.test_dry_run import documented_keys
from tests.hydration.making import SERIES
from tests.image.images import push_base
from tests.index import Index
from tests.servers.registry import BASIC, PASSWORD, RegistryServer, TokenServer
from tests.support import ProjectFolder, files_holding, isolation, run_envlock


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path, index: Index) -> Iterator[ProjectFolder]:
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        made = ProjectFolder.make(tmp_path_factory.mktemp("command") / "project", index.url)
        made.write_env("alpha==1.0", python=SERIES, settings='cache = "../cache"', archs=[host_arch()])
        run_envlock("lock", cwd=made.folder)
        yield made


@pytest.fixture
def project(locked: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    return locked.copy(tmp_path / "project")


def test_what_was_pushed_is_said_in_words_and_as_json(
    project: ProjectFolder, registry_server: RegistryServer, open_registry: Callable[..., Any]
) -> None:
    own = f"{registry_server.host}/command"
    push_base(open_registry(f"{own}/base:1"))
    words = ["image", f"{own}/image:1", "--base", f"{own}/base:1", "--python", sys.executable]
    would = run_envlock(*words, "--dry-run", cwd=project.folder)
    did = run_envlock(*words, "--json", cwd=project.folder).json
    assert did["image"] == f"{own}/image:1@{did['digest']}"
    assert did["digest"] in would.text
    assert set(did) == documented_keys()["image"]
    assert [each["is_new"] for each in did["layers"]] == [True] * did["sent"]
    again = run_envlock(*words, cwd=project.folder)
    assert did["digest"] in again.text
    assert "no layer is new" in again.text
    assert f"--base {did['base']}" in again.stderr, "the hint names the same base by digest"
    pinned = run_envlock(*words[:3], did["base"], *words[4:], cwd=project.folder)
    assert "--base" not in pinned.stderr


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["127.0.0.1:1/image:1"], 2, "usage"),
        (["127.0.0.1:1/image:1", "--base", "127.0.0.1:1/base:1", "--python", "python3"], 2, "usage"),
        ([f"127.0.0.1:1/image@sha256:{'1' * 64}", "--base", "127.0.0.1:1/base:1"], 2, "usage"),
        (["image:1", "--base", "127.0.0.1:1/base:1"], 2, "bad-image-reference"),
        (["127.0.0.1:1/image:1", "nowhere", "--base", "127.0.0.1:1/base:1"], 2, "no-such-selection"),
    ],
    ids=["no base", "a Python that is no path", "a digest", "no registry", "no such step"],
)
def test_what_cannot_be_meant_is_an_error_before_anybody_is_asked(
    project: ProjectFolder, words: list[str], status: int, code: str
) -> None:
    assert f"error[{code}]" in run_envlock("image", *words, cwd=project.folder, check=status).stderr


def test_a_stale_lock_is_in_no_image(project: ProjectFolder) -> None:
    project.edit('"==1.0"', '"==2.0"')
    words = ["image", "127.0.0.1:1/image:1", "--base", "127.0.0.1:1/base:1"]
    run_envlock(*words, cwd=project.folder, check=1)


def test_no_login_is_in_what_is_shown_or_kept(
    project: ProjectFolder,
    open_registry: Callable[..., Any],
    with_tokens: RegistryServer,
    tokens: TokenServer,
    login: Callable[..., DockerLogin],
    tmp_path: Path,
) -> None:
    known = login(with_tokens.host)
    push_base(open_registry(f"{with_tokens.host}/command/base:1", login=known))
    words = [f"{with_tokens.host}/command/image:1", "--base", f"{with_tokens.host}/command/base:1"]
    env = {"DOCKER_CONFIG": str(known.path.parent)}
    said = run_envlock("-v", "image", *words, "--python", sys.executable, cwd=project.folder, env=env)
    assert "/v2/command/image/manifests/1" in said.stderr
    wrong = run_envlock("-v", "image", *words, cwd=project.folder, check=2)
    assert "error[registry-denied]" in wrong.stderr
    for secret in (PASSWORD, BASIC, *(each.rpartition(".")[2] for each in tokens.tokens)):
        assert secret not in said.stdout + said.stderr + wrong.stderr
        assert files_holding(secret, tmp_path, home()) <= {known.path}


def test_an_environment_of_two_archs_is_one_and_layers_are_named_once() -> None:
    reference = ImageReference.parse(f"registry.example/image:1@sha256:{'1' * 64}")
    layers = tuple(
        LayerPushed(arch, name, f"{arch} {name}", 10, 20, is_new=True)
        for arch in (LINUX_64, LINUX_AARCH64)
        for name in ("alpha", "the environment")
    )
    result = ImagePushed(
        reference,
        reference,
        manifests={LINUX_64: "sha256:2", LINUX_AARCH64: "sha256:3"},
        environments=("Train/start on linux-64", "Train/start on linux-aarch64"),
        layers=layers,
    )
    first, second, _ = as_lines(result)
    assert "1 environment, linux-64, linux-aarch64" in first
    assert "4 layers (40 bytes) are new, such as alpha and the environment;" in second
