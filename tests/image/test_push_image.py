"""`envlock image`: what is in an image, what is sent of it, and what is remembered."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from envlock.cache.images import Images
from envlock.cache.layout import environment_place
from envlock.cache.open import open_cache
from envlock.config.read import load_project
from envlock.config.selection import Selection
from envlock.hydration.errors import BadPythonArchive, DiskFull
from envlock.image.docker_login import DockerLogin
from envlock.image.errors import BaseUnfit, NotForImage
from envlock.image.image import ARCHITECTURES, BASE_DIGEST, BASE_NAME
from envlock.image.manifests import OCI_INDEX, Manifest
from envlock.image.references import ImageReference
from envlock.image.registry import Registry
from envlock.lockfile.document import parse
from envlock.model.arch import LINUX_64, LINUX_AARCH64, host_arch
from envlock.model.lock import Lock
from envlock.workflow import image_memo, images
from envlock.workflow.image_memo import ImagePushed
from envlock.workflow.image_pythons import BASE, KIT
from envlock.workflow.images import LOCK_TYPE, SBOM_TYPE, ImageOptions, push_image
from metaflow_extensions.envlock.plugins.node import manifest as manifests
from metaflow_extensions.envlock.plugins.node import prepare as node
from tests.hydration.making import SERIES
from tests.image.images import push_base
from tests.index import CATALOGUE, Index
from tests.node.nodes import Said
from tests.remote.kits import KIT_RELEASES, python_mirror
from tests.servers.registry import RegistryServer
from tests.support import ProjectFolder, isolation, run_envlock

ARCHS: Sequence[Any] = (LINUX_64, LINUX_AARCH64)
OWN_PYTHON = os.path.realpath(sys.executable)
TABLES = f"""\
[env.first.pypi]
python = "{SERIES}"
[env.first.pypi.packages]
alpha = "==2.0"
beta = ""
zeta = ""
[env.second.pypi]
python = "{SERIES}"
[env.second.pypi.packages]
beta = ""
zeta = ""
"""


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[ProjectFolder]:
    """A locked project that tests copy. The trees of its environments are made of real wheels."""
    with (
        isolation(tmp_path_factory.mktemp("home"), shared_uv_cache),
        Index(*CATALOGUE, *KIT_RELEASES) as index,
        python_mirror(tmp_path_factory.mktemp("mirror"), SERIES, real={SERIES: small_build()}) as mirror,
    ):
        project = ProjectFolder.make(tmp_path_factory.mktemp("images") / "project", index.url)
        settings = f'cache = "../cache"\npython-mirror = "{mirror.url}"'
        project.write(TABLES, settings=settings, archs=list(ARCHS))
        run_envlock("lock", cwd=project.folder)
        yield project


@cache
def small_build() -> bytes:
    """An archive of a Python build, as a mirror has it: an interpreter that runs nowhere."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data, mode in (
            (f"bin/python{SERIES}", b"ELF" * 100, 0o755),
            (f"lib/python{SERIES}/os.py", b"x = 1", 0o644),
        ):
            member = tarfile.TarInfo(f"python/{name}")
            member.size, member.mode = len(data), mode
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def project(locked: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    return locked.copy(tmp_path / "project")


@pytest.fixture
def references(registry_server: RegistryServer, tmp_path: Path) -> Callable[[str], ImageReference]:
    """References to repositories of this test's own."""
    own = tmp_path.name.lower().replace("_", "")
    return lambda name: ImageReference.parse(f"{registry_server.host}/{own}/{name}")


@pytest.fixture
def base(open_registry: Callable[..., Registry], references: Callable[[str], ImageReference]) -> ImageReference:
    """A base image for both archs, as docker writes it, with a user, an entrypoint and variables."""
    reference = references("base:1")
    push_base(open_registry(str(reference)))
    return reference


@dataclass(frozen=True)
class Made:
    """An image with both environments, that tests only look at."""

    project: ProjectFolder
    registry: Registry
    result: ImagePushed


@pytest.fixture(scope="module")
def made(
    locked: ProjectFolder, registry_server: RegistryServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made")
    base, target = (ImageReference.parse(f"{registry_server.host}/made/{name}:1") for name in ("base", "image"))
    login = DockerLogin({"HOME": str(folder)})
    with Registry(base, login) as registry:
        push_base(registry)
    project = locked.copy(folder / "project")
    with Registry(target, login) as registry:
        yield Made(project, registry, pushed(project, target, base, "first", "second"))


def pushed(
    project: ProjectFolder,
    target: ImageReference,
    base: ImageReference,
    *environments: str,
    archs: Sequence[str] = (host_arch(),),
    python: str = OWN_PYTHON,
    **options: Any,
) -> ImagePushed:
    chosen = Selection(environments=environments or ("first",), archs=tuple(archs))
    dry_run = options.pop("dry_run", False)
    return push_image(
        load_project(project.config), target, base,
        selection=chosen, options=ImageOptions(python, **options), dry_run=dry_run,
    )  # fmt: skip


def lock_of(project: ProjectFolder, name: str, arch: str = host_arch()) -> Lock:
    (found,) = [
        lock
        for path in project.locks
        if (lock := parse(path.read_bytes(), path.name)).arch == arch and name in lock.asked_by
    ]
    return found


def image_of(registry: Registry, result: ImagePushed, arch: str = host_arch()) -> tuple[Manifest, dict[str, Any]]:
    """The manifest and the configuration of an image for an arch."""
    manifest = registry.manifest(result.manifests[arch])  # type: ignore[index]
    return manifest, json.loads(registry.read_blob(manifest.config))


def unpacked(registry: Registry, manifest: Manifest, root: Path, *, above: int) -> None:
    """Unpack the layers of an image from one on, as a runtime does."""
    for layer in manifest.layers[above:]:
        data = gzip.decompress(registry.read_blob(layer, limit=1 << 30))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extraction_filter = lambda member, _: member  # which a Python without filters passes over
            tar.extractall(root)


def test_an_image_is_its_base_with_the_environment_on_it(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference], open_registry: Any
) -> None:
    result = pushed(project, references("image:1"), base, archs=ARCHS)
    registry = open_registry(str(references("image:1")))
    index = registry.manifest("1")
    assert (index.is_index, index.descriptor.digest) == (True, result.reference.digest)
    assert [each.platform["architecture"] for each in index.manifests] == ["amd64", "arm64"]
    assert index.document["annotations"] == {
        BASE_NAME: f"{base.name}:1",
        BASE_DIGEST: result.base.digest,
        "envlock.environments": lock_names(project, "first", *ARCHS),
    }
    for arch in ARCHS:
        manifest, config = image_of(registry, result, arch)
        base_manifest = registry_base(open_registry, base, arch)
        assert manifest.layers[0].digest == base_manifest.layers[0].digest
        assert manifest.layers[0].media_type.startswith("application/vnd.oci"), "docker's names are translated"
        assert config["config"]["User"] == "1000"
        assert config["config"]["Entrypoint"] == ["tini"]
        assert config["config"]["Env"] == ["PATH=/usr/bin", "ENVLOCK_PREBUILT=/opt/envlock"]
        assert len(config["rootfs"]["diff_ids"]) == len(manifest.layers) == len(config["history"])


def lock_names(project: ProjectFolder, name: str, *archs: str) -> str:
    return " ".join(sorted({lock_of(project, name, arch).prefix_name for arch in archs}))


def registry_base(open_registry: Any, base: ImageReference, arch: str) -> Manifest:
    registry = open_registry(str(base))
    entries = {each.platform["architecture"]: each for each in registry.manifest().manifests}
    return registry.manifest(entries[ARCHITECTURES[arch]].digest)  # type: ignore[index,no-any-return]


def test_a_task_finds_its_environment_in_the_image_and_asks_nobody(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = image_of(made.registry, made.result)
    root = tmp_path / "root"
    unpacked(made.registry, manifest, root, above=1)
    monkeypatch.chdir(tmp_path)
    for name, module in (("first", "alpha"), ("second", "zeta")):
        lock = lock_of(made.project, name)
        document = {
            "format": 1, "flow": "F", "cache": "s3://nowhere/x", "steps": {"train": 0},
            "environments": [[lock.arch, lock.req_id, lock.full_id, "0" * 64]],
        }  # fmt: skip
        said = Said()
        parsed = manifests.parse(json.dumps(document).encode())
        entered = node.prepare(parsed, "train", {"ENVLOCK_PREBUILT": str(root / "opt/envlock")}, said)
        assert entered is not None
        assert entered.prefix == str(root / "opt/envlock/environments" / lock.prefix_name)
        assert said.lines == []
        program = f"import sys, {module}; print(sys.prefix, {module}.__file__, {module}.__cached__)"
        ran = subprocess.run([entered.python, "-c", program], capture_output=True, text=True, check=True)
        prefix, file, cached = ran.stdout.split()
        assert prefix == entered.prefix
        assert file.startswith(prefix)
        assert Path(cached).exists(), "its bytecode is there"
    assert (root / "opt/envlock/environment/bin").stat().st_mode & 0o777 == 0o755


def test_the_same_lock_and_base_give_the_same_digest_and_nothing_is_sent_again(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference]
) -> None:
    first = pushed(project, references("image:1"), base)
    assert first.sent
    assert (first.recorded, first.copied) == (1, 0)
    again = pushed(project, references("image:1"), base)
    assert again.reference.digest == first.reference.digest
    assert (again.sent, again.copied, again.recorded) == ((), 0, 0)
    elsewhere = pushed(project, references("other:2"), base)
    assert elsewhere.reference.digest == first.reference.digest


class TreeMade(Exception):
    """A tree was made."""


def test_an_image_that_has_not_changed_is_not_made_again(
    project: ProjectFolder,
    base: ImageReference,
    references: Callable[[str], ImageReference],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TreeMade

    first = pushed(project, references("image:1"), base)
    monkeypatch.setattr(images, "tree_of", refuse)
    again = pushed(project, references("image:1"), base)
    assert (again.reference, again.base, again.manifests) == (first.reference, first.base, first.manifests)
    assert again.layers == tuple(each._replace(is_new=False) for each in first.layers)
    for owner, name, value in ((Registry, "has_blob", False), (image_memo, "_own_code", "another release")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda *_, value=value: value)
            with pytest.raises(TreeMade):
                pushed(project, references("image:1"), base)
    for other in (references("image:2"), references("image:1")):
        with pytest.raises(TreeMade):
            pushed(project, other, base, "second")


def test_a_tag_that_names_another_image_by_now_is_pushed_again(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference], open_registry: Any
) -> None:
    first = pushed(project, references("image:1"), base)
    pushed(project, references("image:1"), base, "second")
    again = pushed(project, references("image:1"), base)
    assert again.reference.digest == first.reference.digest
    assert open_registry(str(references("image:1"))).digest_of("1") == first.reference.digest


def test_a_dry_run_tells_the_digest_and_sends_nothing(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference], open_registry: Any
) -> None:
    would = pushed(project, references("image:1"), base, dry_run=True)
    assert open_registry(str(references("image:1"))).digest_of("1") == ""
    assert Images(open_cache(load_project(project.config))).read(environment_place(lock_of(project, "first"))) is None
    did = pushed(project, references("image:1"), base)
    assert would.reference.digest == did.reference.digest
    assert {each.digest for each in would.sent} == {each.digest for each in did.sent}


def test_two_environments_share_the_layers_of_their_common_packages(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference]
) -> None:
    first = pushed(project, references("image:1"), base, "first")
    second = pushed(project, references("image:2"), base, "second")
    names = {each.name for each in second.sent}
    assert names == {"the environment"}, "zeta and beta were in the first image"
    assert {each.digest for each in first.layers} & {each.digest for each in second.layers}


def test_an_update_of_one_package_sends_its_layer_and_a_small_one(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference]
) -> None:
    first = pushed(project, references("image:1"), base)
    project.edit('alpha = "==2.0"', 'alpha = "==1.1"')
    run_envlock("lock", cwd=project.folder)
    second = pushed(project, references("image:1"), base)
    (name,) = [each.name for each in second.layers if "alpha" in each.name]
    assert {each.name for each in second.sent} == {name, "the environment"}
    assert len(second.layers) == len(first.layers)


def test_a_base_that_moved_between_two_pushes_is_told(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference], open_registry: Any
) -> None:
    first = pushed(project, references("image:1"), base)
    push_base(open_registry(str(base)), content=b"another")
    second = pushed(project, references("image:1"), base)
    assert second.before == first.base.digest != second.base.digest
    assert second.reference.digest != first.reference.digest
    lie = {BASE_NAME: str(base), BASE_DIGEST: "sha256:\x1b[2J"}
    index = Manifest.of({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": lie})
    open_registry(str(references("image:1"))).push_manifest(index, "1")
    pinned = pushed(project, references("image:1"), base.with_digest(first.base.digest))
    assert pinned.before == ""
    assert pinned.reference.digest == first.reference.digest


def test_the_lock_and_an_sbom_of_each_environment_are_attached_to_the_image(made: Made) -> None:
    attached: dict[str, list[bytes]] = {}
    for each in made.registry.referrers(made.result.manifests[host_arch()]):
        (blob,) = made.registry.manifest(each.digest).layers
        attached.setdefault(each.artifact_type, []).append(made.registry.read_blob(blob))
    locks = [lock_of(made.project, name) for name in ("first", "second")]
    found = {
        (lock.identity, lock.asked_by, lock.resolved_by) for lock in (parse(each, "") for each in attached[LOCK_TYPE])
    }
    assert found == {(lock.identity, (), "") for lock in locks}
    names = {frozenset(each["name"] for each in json.loads(bom)["components"]) for bom in attached[SBOM_TYPE]}
    assert len(names) == 2
    assert all(any({package.name for package in lock.packages} <= each for each in names) for lock in locks)


def test_the_cache_remembers_the_image_of_each_environment(made: Made) -> None:
    result = made.result
    records = Images(open_cache(load_project(made.project.config)))
    for name in ("first", "second"):
        record = records.read(environment_place(lock_of(made.project, name)))
        assert record is not None
        assert record.reference == f"{result.reference.name}@{result.reference.digest}"
        assert record.base == str(result.base)
    assert result.recorded == 2


@pytest.mark.parametrize("push_first", [True, False], ids=["of the plan", "that push would choose"])
def test_the_python_build_is_a_layer_and_the_receipt_knows_its_file(
    project: ProjectFolder,
    base: ImageReference,
    references: Callable[[str], ImageReference],
    open_registry: Any,
    tmp_path: Path,
    push_first: bool,
) -> None:
    if push_first:
        project.edit("[envlock]", "[envlock]\nremote = true")
        run_envlock("push", "--arch", host_arch(), cwd=project.folder)
    result = pushed(project, references("image:1"), base, "first", "second", python=KIT)
    registry = open_registry(str(references("image:1")))
    manifest, _ = image_of(registry, result)
    (build,) = [each for each in result.layers if each.name.startswith("CPython")]
    assert manifest.layers[1].digest == build.digest, "it is the lowest, and there once"
    version, _, sha256 = str(manifest.document["annotations"]["envlock.pythons"]).partition("@sha256:")  # type: ignore[index]
    assert (build.name, sha256) == (f"CPython {version}", hashlib.sha256(small_build()).hexdigest())
    unpacked(registry, manifest, tmp_path / "root", above=1)
    python = f"/opt/envlock/pythons/{sha256}/python/bin/python{SERIES}"
    file = tmp_path / "root" / python.lstrip("/")
    for name in ("environment", "environment-2"):
        prefix = tmp_path / "root/opt/envlock" / name
        assert str((prefix / "bin" / "python").readlink()) == python
        assert f"home = {Path(python).parent}\n" in (prefix / "pyvenv.cfg").read_text()
        receipt = json.loads((prefix / ".envlock.json").read_text())
        assert (receipt["python"], receipt["python_version"]) == (python, version)
        assert receipt["python_file"] == [file.stat().st_mtime_ns, file.stat().st_size]
    cached = file.parents[1] / f"lib/python{SERIES}/__pycache__/os.cpython-{SERIES.replace('.', '')}.pyc"
    assert cached.read_bytes()[4] == 1, "bytecode that nobody compares with its source"


def test_a_base_without_the_arch_is_refused_before_anything_is_made(
    project: ProjectFolder, references: Callable[[str], ImageReference], open_registry: Any
) -> None:
    base = references("base:1")
    push_base(open_registry(str(base)), archs=[LINUX_64])
    with pytest.raises(BaseUnfit) as caught:
        pushed(project, references("image:1"), base, archs=ARCHS)
    assert "linux/arm64" in caught.value.message
    assert "linux/amd64" in caught.value.message


def test_an_index_that_lists_another_one_in_place_of_an_image_is_no_base(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference], open_registry: Any
) -> None:
    registry = open_registry(str(base))
    inner = registry.manifest().descriptor._replace(
        platform={"os": "linux", "architecture": ARCHITECTURES[host_arch()]}
    )
    outer = Manifest.of({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner.document()]})
    registry.push_manifest(outer, "outer")
    with pytest.raises(BaseUnfit, match="another index") as caught:
        pushed(project, references("image:1"), base.with_tag("outer"))
    assert inner.digest in caught.value.render()


def test_no_image_stands_on_another_one(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference], open_registry: Any
) -> None:
    """Its environments are where those of any other image are, so files of two would mix."""
    pushed(project, references("image:1"), base)
    with pytest.raises(BaseUnfit, match="already"):
        pushed(project, references("image:2"), references("image:1"))
    push_base(open_registry(str(references("derived:1"))), Env=["ENVLOCK_PREBUILT=/opt/envlock"])
    with pytest.raises(BaseUnfit, match="already"):
        pushed(project, references("image:2"), references("derived:1"))


def test_a_python_of_the_base_that_fits_is_used_by_its_path(
    project: ProjectFolder, references: Callable[[str], ImageReference], open_registry: Any, tmp_path: Path
) -> None:
    base, version = references("base:1"), f"{SERIES}.99"
    push_base(open_registry(str(base)), Env=[f"PYTHON_VERSION={version}"])
    usual, other = f"/usr/local/bin/python{SERIES}", "/opt/x/python"
    for python, path, known in ((BASE, usual, version), (other, other, SERIES)):
        result = pushed(project, references("image:1"), base, python=python)
        registry = open_registry(str(references("image:1")))
        manifest, _ = image_of(registry, result)
        unpacked(registry, manifest, tmp_path / python.strip("/"), above=1)
        prefix = tmp_path / python.strip("/") / "opt/envlock/environment"
        receipt = json.loads((prefix / ".envlock.json").read_text())
        assert (receipt["python"], receipt["python_version"], receipt["python_file"]) == (path, known, [])
        assert str((prefix / "bin" / "python").readlink()) == path


@pytest.mark.parametrize(
    ("said", "fact"), [("", "PYTHON_VERSION"), ("2.7.18", "2.7.18")], ids=["nothing", "another Python"]
)
def test_a_python_of_the_base_has_to_be_told_and_to_fit(
    project: ProjectFolder, references: Callable[[str], ImageReference], open_registry: Any, said: str, fact: str
) -> None:
    base = references("base:1")
    push_base(open_registry(str(base)), Env=[f"PYTHON_VERSION={said}"] if said else [])
    with pytest.raises(NotForImage) as caught:
        pushed(project, references("image:1"), base, python=BASE)
    assert fact in caught.value.message


def test_a_python_build_that_is_none_leads_to_the_mirror_and_to_the_python_of_the_base(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference]
) -> None:
    (other,) = {LINUX_64, LINUX_AARCH64} - {host_arch()}  # whose build on the mirror is made up
    with pytest.raises(BadPythonArchive) as caught:
        pushed(project, references("image:1"), base, python=KIT, archs=(other,))
    assert "python-mirror" in str(caught.value.hint)
    assert "--python base" in str(caught.value.hint)


def test_layers_of_a_base_in_another_registry_are_copied_and_those_of_its_own_are_not(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference], tmp_path: Path
) -> None:
    from tests.servers.registry import registry

    with registry(tmp_path) as other:
        target = ImageReference.parse(f"{other.host}/team/image:1")
        result = pushed(project, target, base)
        assert result.copied > 0
        assert pushed(project, target, base).copied == 0


def test_a_full_disk_is_an_error_with_a_code_and_no_image(
    project: ProjectFolder,
    base: ImageReference,
    references: Callable[[str], ImageReference],
    open_registry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def on_a_full_disk(*_: object) -> None:
        with open("/dev/full", "wb", buffering=0) as file:  # noqa: PTH123
            file.write(b"x")

    monkeypatch.setattr(images, "write_layer", on_a_full_disk)
    with pytest.raises(DiskFull):
        pushed(project, references("image:1"), base)
    assert open_registry(str(references("image:1"))).digest_of("1") == ""


def test_nothing_but_linux_is_in_an_image(
    project: ProjectFolder, base: ImageReference, references: Callable[[str], ImageReference]
) -> None:
    project.edit('["linux-64", "linux-aarch64"]', '["osx-arm64"]')
    run_envlock("lock", cwd=project.folder)
    with pytest.raises(NotForImage, match="Linux"):
        pushed(project, references("image:1"), base, archs=())


def test_more_layers_than_containers_stack_are_refused_before_anything_is_made(
    project: ProjectFolder,
    base: ImageReference,
    references: Callable[[str], ImageReference],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("envlock.image.image.MOST_IN_ALL", 6)
    monkeypatch.setattr("envlock.workflow.images.tree_of", lambda *_, **__: pytest.fail("a tree was made"))
    with pytest.raises(BaseUnfit, match="2 environments"):
        pushed(project, references("image:1"), base, "first", "second")
