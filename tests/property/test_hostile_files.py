"""Whatever stands in a file that envlock reads, it is told or passed over: nothing ends in a defect, and nothing hangs.

A fuzzer of our own, for most mutations of bytes never get past a parser or a digest: values are mutated, and digests
made right again. Each reader is given what others wrote, the same for a seed; `-m slow` takes a new seed, and more.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import time
import traceback
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from envlock import activation, interpreters
from envlock.cache.format import check_format
from envlock.cache.gc_lock import Needs
from envlock.cache.gc_roots import used_by_runs
from envlock.cache.images import ImageRecord, parse_record
from envlock.cache.layout import build_path, package_path
from envlock.cache.memory_store import MemoryStore
from envlock.cache.packages import BuiltFor, BuiltWheels, path_of
from envlock.cache.plan import parse_plan
from envlock.cli import prefix_memo as memo
from envlock.cli.env import environments_document
from envlock.conda.install import clobbers, owners_of
from envlock.config.edit.metaflow_config import make_default
from envlock.config.flows.decorators import read_decorators
from envlock.config.flows.flow_reader import read_flows
from envlock.config.metaflow_datastore import datastore
from envlock.config.read import load_project
from envlock.errors import EnvlockError, ResolveError
from envlock.hydration.errors import ChangedArtifact, owner_of
from envlock.hydration.installed import installed
from envlock.hydration.prefix import read_receipt
from envlock.hydration.wheels import metadata_in, paths_in
from envlock.image.image import base_of, config_of, manifest_of
from envlock.image.manifests import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Manifest
from envlock.lockfile.canonical_text import body_of, digest_of
from envlock.lockfile.document import parse, render
from envlock.lockfile.rows import verified_rows
from envlock.lockfile.summary import quick_summary
from envlock.model.arch import LINUX_64
from envlock.model.artifact import artifacts_of
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.named.alias import Alias
from envlock.named.history import Aliases
from envlock.named.move import BadMove, Move, parse_move
from envlock.named.pin import STAMP, Pin, parse_pin, render_pin
from envlock.named.run_record import RunRecord, RunRecords
from envlock.pack.parts import UNREADABLE, contents, raw_parts
from envlock.pack.tree import TreeFile
from envlock.redaction import redact
from envlock.remote import on_node
from envlock.resolve.index_check import files_in
from envlock.resolve.platform_tags import target_of
from envlock.resolve.uv_output import NotAPylock, select
from envlock.settings_files import settings_files
from envlock.workflow.import_locks import Wanted, import_lock
from envlock.workflow.machine import environments
from envlock.workflow.machine.environments import Environments, find_environments, with_sizes
from tests.cache.test_plans import PACKED, PLANS
from tests.hostile import mutations, sha256
from tests.interchange import texts
from tests.interchange.test_readers_pypi import PDM as PDM_LOCK
from tests.interchange.test_readers_pypi import POETRY as POETRY_LOCK
from tests.lockfile.conda_locks import MIXED
from tests.remote.kits import conda_plan
from tests.servers.processes import ROOT
from tests.support import conda_requirements

ROUNDS = 120
MANY = 1500
LONGEST = 10.0
"""Seconds that no file may take, on a machine that does eight other things."""
LOCKS = sorted((ROOT / "tests" / "formats").glob("*/*.toml"))
PIN = Pin(
    "name",
    "team/base:v1",
    Requirements(
        pypi=(parse_requirement("lam"),),
        python="==3.12.*",
        channels=("https://conda.example/x",),
        conda=conda_requirements("numpy >=1"),
        system=(("linux-64", "__glibc", "2.28"),),
    ),
    ((LINUX_64, "1" * 40),),
    1,
    record="2" * 64,
)
RECORD = Move("team/base", "v1", 1, "0" * 40, ((LINUX_64, "1" * 40),), "mia", "2026-11-01T00:00:00Z", "base")
RAN = RunRecord("TrainFlow", "1", "train", "linux-64", "0" * 40, "1" * 40)
META = {
    "name": "a",
    "version": "1",
    "build": "0",
    "sha256": "f" * 64,
    "files": ["lib/a"],
    "paths_data": {
        "paths": [
            {"_path": "lib/a", "path_type": "hardlink", "sha256": "e" * 64, "sha256_in_prefix": "d" * 64},
            {"_path": "__clobbers__/b", "original_path": "lib/a", "path_type": "softlink", "sha256": "c" * 64},
        ]
    },
}
FLOW = (ROOT / "tests" / "config" / "flows").glob("*.py")


def stamped_lock(data: bytes) -> bytes:
    text = data.decode(errors="replace")
    return re.sub(r'digest = "[^"\n]*"', f'digest = "{digest_of(body_of(text))}"', text).encode()


def stamped_pin(data: bytes) -> bytes:
    body = data.decode(errors="replace").rpartition("\n[stamp]")[0]
    return f'{body}{STAMP}"{digest_of(body)}"\n'.encode()


def stamped_record(data: bytes) -> bytes:
    try:
        fields = json.loads(data)
        del fields["sha256"]
        body = json.dumps(fields, indent=1, ensure_ascii=False) + "\n"
        return (json.dumps({**fields, "sha256": sha256(body.encode())}, indent=1, ensure_ascii=False) + "\n").encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return data


def canonical_plan(data: bytes) -> bytes:
    try:
        return json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode() + b"\n"
    except (ValueError, TypeError, RecursionError):
        return data


IMAGE_RECORD = ImageRecord("registry.example/team/a", "1", f"sha256:{'1' * 64}", "registry.example/base@sha256:2")


def read_base_config(_: Path, data: bytes) -> None:
    """As `envlock image` does, with the configuration that a registry sends of the base."""
    layer = Descriptor(OCI_LAYER_GZIP, f"sha256:{'1' * 64}", 3).document()
    config = Descriptor.of_bytes(data, OCI_CONFIG).document()
    manifest = Manifest.of({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]})
    base = base_of(manifest, data, LINUX_64, "registry.example/base:1")
    manifest_of(base, config_of(base, []), [], {})


BASE_CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Env": ["PATH=/bin", "A"], "User": "1000"},
    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'2' * 64}"]},
    "history": [{"created_by": "FROM scratch"}],
}


def read_plan_on_node(folder: Path, data: bytes) -> None:
    (folder / "plan.json").write_bytes(data)
    with suppress(ChangedArtifact):  # its packages were not fetched
        on_node.read_plan(folder / "plan.json", folder)


def read_plan(_: Path, data: bytes) -> None:
    parse_plan(data, PLANS["conda.json"].place._replace(sha256=sha256(data)))


def _raw_part() -> bytes:
    """With a link, and a name and records that need a pax header."""
    files = [
        TreeFile("lib/x", None, "y", 0, executable=False, prefix="", package="a"),
        TreeFile("lib/" + "long/" * 30, Path(__file__), "", Path(__file__).stat().st_size, False, "text", "a"),
    ]
    return b"".join(piece for part in raw_parts(files) for piece in part.pieces())


class Target:
    """A format: a file as it should be, and what reads it."""

    def __init__(
        self,
        seeds: list[bytes],
        form: str,
        read: Callable[[Path, bytes], object],
        *,
        says: type[Exception] | tuple[type[Exception], ...] = EnvlockError,
        stamp: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.seeds, self.form, self.read, self.says, self.stamp = seeds, form, read, says, stamp

    def try_out(self, folder: Path, seed: int, rounds: int) -> None:
        for number, whole in enumerate(self.seeds):
            self.read(folder, whole)  # as it should be, so that what is refused below is what was changed
            for data in mutations(whole, self.form, seed + number, rounds // len(self.seeds), self.stamp):
                began = time.monotonic()
                wrong = self.outcome(folder, data)
                assert not wrong, f"{wrong}\n{data[:2000]!r}"
                assert time.monotonic() - began < LONGEST, data[:2000]

    def outcome(self, folder: Path, data: bytes) -> str:
        """What is wrong with how the reader takes a file; nothing where it reads it, or says what it may say."""
        try:
            self.read(folder, data)
        except self.says as error:
            if not isinstance(error, EnvlockError):
                return ""
            is_told = json.dumps(error.as_dict()) and error.render() and error.exit_status != 70
            return "" if is_told and error.code != "unexplained" else f"{error.code}: {error}"
        except Exception as error:  # noqa: BLE001  whatever it is
            where = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__} at {where.filename}:{where.lineno}: {error}"
        return ""


def read_lock(_: Path, data: bytes) -> None:
    quick_summary(data)
    with suppress(EnvlockError):
        verified_rows(data, "lock")
    lock = parse(data, "lock")
    render(lock)
    for artifact in artifacts_of(lock):
        path_of(artifact)


def read_config(folder: Path, data: bytes) -> None:
    (folder / "envlock.toml").write_bytes(data)
    for environment in load_project(folder / "envlock.toml").environments():
        assert environment.requirements.req_id


def read_requirements(folder: Path, data: bytes) -> None:
    (folder / "requirements.txt").write_bytes(data)
    read_config(folder, b'[env.a]\nrequirements = "requirements.txt"\n')


def read_environment_file(folder: Path, data: bytes) -> None:
    (folder / "environment.yml").write_bytes(data)
    read_config(folder, b'[env.a]\nenvironment-yml = "environment.yml"\n')


def read_project_file(folder: Path, data: bytes) -> None:
    (folder / "pyproject.toml").write_bytes(data)
    read_config(folder, b'[env.a]\npyproject = { file = "pyproject.toml", extras = ["gpu"], groups = ["train"] }\n')


def read_import(folder: Path, data: bytes) -> None:
    """Everything that an import does short of asking a channel, an index or a repository, and of writing."""
    settings = 'archs = ["linux-64"]\nindex-url = "https://index.example/simple"\nmetaflow-requirements = false\n'
    (folder / "envlock.toml").write_text(f"[envlock]\n{settings}")
    (folder / "x.lock").write_bytes(data)
    with suppress(ResolveError):
        import_lock(folder / "envlock.toml", Wanted(folder / "x.lock"), offline=True, dry_run=True)


def read_flow(folder: Path, data: bytes) -> None:
    path = folder / "flow.py"
    path.write_bytes(data)
    read_flows(path)
    read_decorators(path)


def read_ran(_: Path, data: bytes) -> None:
    store = MemoryStore("memory://hostile-ran")
    store.put(RAN.path, data)
    list(used_by_runs(store))
    RunRecords(store).read(RAN.flow, RAN.run, RAN.step)


def read_chain(_: Path, data: bytes) -> None:
    store = MemoryStore("memory://hostile-alias")
    store.put("aliases/team/base/@tags/v1/0000000001.json", data)
    list(Aliases(store).all_newest())
    Aliases(store).history(Alias("team/base", "v1"))


def read_built(_: Path, data: bytes) -> None:
    store = MemoryStore("memory://hostile-built")
    store.put(build_path("ab" * 32, "osx-arm64", "3.12"), data)
    wheels = BuiltWheels(store)
    found = wheels.find("ab" * 32, "osx-arm64", "3.12")
    assert found is None or package_path(found.sha256, found.filename) in wheels.packages()


def read_format(_: Path, data: bytes) -> None:
    store = MemoryStore("memory://hostile-format")
    store.put("CACHE.json", data)
    check_format(store)


def read_of_marker(folder: Path, data: bytes) -> None:
    (folder / ".envlock.json").write_bytes(data)
    marker = read_receipt(folder)
    assert marker is None or marker.python_is_unchanged in {True, False}


def read_meta(folder: Path, data: bytes) -> None:
    (folder / "conda-meta").mkdir(exist_ok=True)
    (folder / "conda-meta" / "a-1-0.json").write_bytes(data)
    installed(folder)
    owner_of(folder, "lib/a")
    clobbers(folder)
    owners_of(folder, ["lib/a"])


def read_record_of_wheel(folder: Path, data: bytes) -> None:
    info = folder / "lib" / "python3.12" / "site-packages" / "a-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "INSTALLER").write_bytes(b"uv")
    (info / "RECORD").write_bytes(data)
    installed(folder)


def read_variables(folder: Path, data: bytes) -> None:
    for path in (folder / "etc" / "conda" / "env_vars.d" / "a.json", folder / "conda-meta" / "state"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    activation.activated(str(folder), {})


def read_memo(_: Path, data: bytes) -> None:
    path = Path(memo._path(["key"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    memo.recall(["key"])


def read_note_of_project(_: Path, data: bytes) -> None:
    path = Path(os.environ["ENVLOCK_HOME"]) / "projects" / ("0" * 16)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    (prefix,) = with_sizes(read_environments()).prefixes
    assert prefix.size is not None
    json.dumps(environments_document(read_environments()))


def read_size(_: Path, data: bytes) -> None:
    read_environments()
    path = Path(os.environ["ENVLOCK_HOME"]) / "sizes" / MADE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    with_sizes(read_environments())


def read_environments() -> Environments:
    Path(os.environ["ENVLOCK_HOME"], "environments", MADE).mkdir(parents=True, exist_ok=True)
    return find_environments()


MADE = f"metaflow_{'0' * 40}_{'1' * 40}"
KNOWN = {"config": "/nowhere/envlock.toml", "locks": "/nowhere/envlock.lock", "mount": "/"}


def read_interpreters(_: Path, data: bytes) -> None:
    path = Path(os.environ["ENVLOCK_HOME"]) / "interpreters.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    interpreters._read_known()


def read_team_file(folder: Path, data: bytes) -> None:
    (folder / "team.toml").write_bytes(data)
    read_config(folder, b'[envlock]\nextends = "team.toml"\n')


def read_user_file(folder: Path, data: bytes) -> None:
    path = Path(dict(settings_files())["user file"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    try:
        read_config(folder, b"")
    finally:
        path.unlink()


def read_profile(folder: Path, data: bytes) -> None:
    (folder / "config.json").write_bytes(data)
    _ = datastore(str(folder), {"METAFLOW_HOME": str(folder)}).cache


def read_metaflow(folder: Path, data: bytes) -> None:
    (folder / ".metaflow").mkdir(exist_ok=True)
    (folder / ".metaflow" / "config.json").write_bytes(data)
    make_default(folder)


def read_wheel(folder: Path, data: bytes) -> None:
    (folder / "a-1.0-py3-none-any.whl").write_bytes(data)
    paths_in(folder / "a-1.0-py3-none-any.whl")
    metadata_in(folder / "a-1.0-py3-none-any.whl")


def _wheel() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("a-1.0.dist-info/entry_points.txt", "[console_scripts]\na = a:main\n")
        wheel.writestr("a-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: a\nVersion: 1.0\n")
        wheel.writestr("a-1.0.data/scripts/b", "#!python\n")
    return file.getvalue()


def _marker() -> bytes:
    fields = {"req_id": "0" * 40, "full_id": "1" * 40, "arch": "linux-64", "python": "/usr/bin/python3"}
    return json.dumps({**fields, "python_version": "3.12.1", "python_file": [1, 2, 3], "envlock": "0.1.0"}).encode()


REQUIREMENTS = b"""\
rich>=13
pandas[all]==2.2.3 ; python_version < "3.12" # why
--extra-index-url https://index.example/simple
--pre
demo @ https://files.example/demo-1.0-py3-none-any.whl
"""
ENVIRONMENT = b"""\
channels: [conda-forge, defaults]
dependencies:
  - python=3.12  # why
  - conda-forge::numpy=1.26=py312*
  - scipy[version=">=1", build=py*]
  - __glibc >=2.17
  - pip:
    - rich>=13  # [linux or arm64]
    - requests = 2.31
  - sys: [__cuda=12.4]
variables: {MODE: "1.10", THREADS: 4}
"""
PROJECT = b"""\
[project]
name = "demo"
version = "1"
requires-python = ">=3.10"
dependencies = ["rich>=13", "torch", "demo[gpu]"]
optional-dependencies = { gpu = ["xgboost>=2"] }
[dependency-groups]
train = ["mlflow", { include-group = "test" }]
test = ["pytest"]
[tool.uv]
constraint-dependencies = ["numpy<2"]
index = [{ name = "cu", url = "https://index.example/cu/", explicit = true }]
sources = { torch = [{ index = "cu", marker = "sys_platform == 'linux'" }], mlflow = { git = "https://x.example/x" } }
"""
POETRY = b"""\
[tool.poetry]
name = "demo"
dependencies = { python = "^3.10", rich = "^13", lam = { version = "*", optional = true, source = "team" }, x = ["1"] }
extras = { gpu = ["lam"] }
source = [{ name = "team", url = "https://index.example/team/", priority = "explicit" }]
[tool.poetry.group.train.dependencies]
tool = { git = "https://code.example/tool", branch = "main", python = "<3.12", platform = "linux" }
"""
WHEEL_RECORD = (
    b'a/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n"a,b.py",,\n../../../bin/a,sha256=x,1\n'
)
PAGE = (
    b'{"meta": {"api-version": "1.1"}, "name": "a", "files": [{"filename": "a-1.0.whl", "url": "x", "yanked": "why"}]}'
)
PYLOCK = b"""\
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.12"

[[packages]]
name = "a"
version = "1.0"
marker = "python_version >= '3.8'"
index = "https://index.example/simple"
[[packages.wheels]]
url = "https://files.example/a-1.0-py3-none-any.whl"
upload-time = 2026-01-01T00:00:00Z
size = 9
hashes = { sha256 = "00" }

[[packages]]
name = "b"
version = "2.0"
archive = { url = "https://files.example/b-2.0-py3-none-any.whl", hashes = { sha256 = "00" } }
"""
NINES = "9" * 5000
HEX = "0x" + "f" * 9000
DEEP = "(" * 3000 + "sys_platform=='linux'" + ")" * 3000
BEYOND = {
    "a number in hexadecimal for a list": ("envlock.archs", HEX),
    "a number in octal for a text": ("envlock.cache", "0o" + "7" * 9000),
    "a number in binary for a package": ("env.a.pypi.packages.alpha", "0b" + "1" * 20_000),
    "a version": ("env.a.pypi.packages.alpha", f'"=={NINES}"'),
    "a version in parentheses": ("env.a.pypi.packages.alpha", f'" (>=1, <{NINES})"'),
    "a Python": ("env.a.pypi.python", f'"3.{NINES}"'),
    "a version of the system": ("envlock.system-requirements.linux-64.__glibc", f'"{NINES}.1"'),
    "a version that is asked of the system": ("env.a.sys_packages.packages.__cuda", f'"{NINES}"'),
    "the port of an index": ("envlock.index-url", f'"https://index.example:{NINES}/"'),
    "the port of an endpoint": ("envlock.cache-options.endpoint", f'"https://objects.example:{NINES}"'),
    "the port of a channel": ("env.a.conda.channels", f'["https://conda.example:{NINES}/x"]'),
    "the port of a wheel": ("env.a.pypi.packages.alpha", f'"@ https://files.example:{NINES}/a-1-py3-none-any.whl"'),
    "parentheses in a marker": ("env.a.pypi.packages.alpha", f'"1.0;{DEEP}"'),
    "parentheses in a marker of its own": ("env.a.pypi.packages.alpha", f'{{ version = "1", marker = "{DEEP}" }}'),
    "a version in a marker": ("env.a.pypi.packages.alpha", f"\"1.0; python_version<'{NINES}'\""),
    "a place with U+0000": ("envlock.cache", r'"a\u0000"'),
    "an instant before all years": ("envlock.exclude-newer", "0001-01-01T00:00:00+23:59"),
    "an instant after all years": ("envlock.exclude-newer", "9999-12-31T23:59:59-23:59"),
    "the last day of all": ("envlock.exclude-newer", "9999-12-31"),
}


@pytest.mark.parametrize("what", BEYOND)
def test_a_value_beyond_what_can_be_read_is_reported_with_its_line(folder: Path, what: str) -> None:
    key, value = BEYOND[what]
    table, _, name = key.rpartition(".")
    with pytest.raises(EnvlockError) as raised:
        read_config(folder, f"[env.b]\n[{table}]\n{name} = {value}\n".encode())
    assert raised.value.exit_status == 2
    assert raised.value.code not in {"unexplained", "many-errors"}
    assert raised.value.locations[0].line == 3
    assert len(raised.value.render()) < 2000


@pytest.mark.parametrize("decorator", [f"python={HEX}", f"packages={{'a': {HEX}}}", f"packages={{'a': '{NINES}'}}"])
def test_so_is_one_in_a_decorator(folder: Path, decorator: str) -> None:
    head, *rest = (folder / "train_flow.py").read_text().splitlines(keepends=True)
    text = f"{head}from metaflow import pypi_base\n@pypi_base({decorator})\n{''.join(rest)}"
    found = TARGETS["flow files"].outcome(folder, text.encode())
    assert not found


def test_a_long_word_costs_no_more_than_its_length(folder: Path) -> None:
    began = time.process_time()
    with pytest.raises(EnvlockError) as raised:
        read_config(folder, f'[envlock]\nhosts = "{"x" * 300_000}"\n'.encode())
    redact(raised.value.render() + "x" * 300_000)
    assert raised.value.locations[0].line == 2
    assert time.process_time() - began < LONGEST


@pytest.mark.parametrize("line", [f"alpha=={NINES}", f"alpha; {DEEP}", f"a @ https://files.example:{NINES}/a.whl"])
def test_so_is_one_in_a_requirements_file(folder: Path, line: str) -> None:
    with pytest.raises(EnvlockError) as raised:
        read_requirements(folder, f"rich\n{line}\n".encode())
    assert raised.value.exit_status == 2
    assert raised.value.locations[0].line == 2


@pytest.mark.parametrize("written", [HEX, "0x1_0000_0000_0000_0000", str(-(2**63) - 1)])
def test_an_integer_of_a_lock_has_64_bits(tmp_path: Path, written: str) -> None:
    data = re.sub(rb"(\[tool\.envlock\]\n)", rb"\1odd = " + written.encode() + b"\n", LOCKS[0].read_bytes())
    assert b"odd" in data
    with pytest.raises(EnvlockError) as raised:
        read_lock(tmp_path, stamped_lock(data))
    assert raised.value.exit_status == 3


TARGETS = {
    "locks": Target([path.read_bytes() for path in LOCKS], "toml", read_lock, stamp=stamped_lock),
    "pins": Target(
        [render_pin(PIN).encode()],
        "toml",
        lambda _, data: parse_pin(data, "name", PIN.reference, "pin"),
        stamp=stamped_pin,
    ),
    "envlock.toml": Target([(ROOT / "envlock.toml.example").read_bytes()], "toml", read_config),
    "team files": Target(
        [b'[envlock]\narchs = ["linux-64"]\ncache = "s3://a/b"\nhosts = ["x"]\n'], "toml", read_team_file
    ),
    "settings files": Target([b'[envlock]\nhome = "/data"\n[init]\narchs = ["linux-64"]\n'], "toml", read_user_file),
    "Metaflow's profiles": Target(
        [b'{"METAFLOW_DEFAULT_DATASTORE": "s3", "METAFLOW_DATASTORE_SYSROOT_S3": "s3://a/b"}'], "json", read_profile
    ),
    "requirements files": Target([REQUIREMENTS], "text", read_requirements),
    "environment files": Target([ENVIRONMENT], "text", read_environment_file),
    "project files": Target([PROJECT, POETRY], "toml", read_project_file),
    "flow files": Target([path.read_bytes() for path in sorted(FLOW)[:4]], "text", read_flow),
    "alias records": Target(
        [RECORD.render()], "json", lambda _, data: parse_move(data), says=BadMove, stamp=stamped_record
    ),
    "alias chains": Target([RECORD.render()], "json", read_chain, stamp=stamped_record),
    "records of runs": Target([RAN.render()], "json", read_ran),
    "announcements": Target(
        [Needs(frozenset({"envs/x"}), frozenset({"packages/y"}), frozenset({"kits/objects/z"})).render()],
        "json",
        lambda _, data: Needs.parse(data),
        says=ValueError,
    ),
    "plans": Target(
        [PLANS["conda.json"].render(), PACKED["conda.json"].render()], "json", read_plan, stamp=canonical_plan
    ),
    "parts": Target([_raw_part()], "text", lambda _, data: contents([data]), says=UNREADABLE),
    "records of images": Target([IMAGE_RECORD.render()], "json", lambda _, data: parse_record(data, "a record")),
    "configurations of base images": Target([json.dumps(BASE_CONFIG).encode()], "json", read_base_config),
    "plans on a node": Target([conda_plan(MIXED).render()], "json", read_plan_on_node, stamp=canonical_plan),
    "wheels that were built": Target(
        [json.dumps(BuiltFor("a-1-py3-none-any.whl", "1", "ab" * 32, 7, ("b==1",))._asdict()).encode()],
        "json",
        read_built,
    ),
    "formats of caches": Target([b'{"format": 1, "exclusive-create": true, "nonce": "ab"}\n'], "json", read_format),
    "markers": Target([_marker()], "json", read_of_marker),
    "conda-meta": Target([json.dumps(META).encode()], "json", read_meta),
    "RECORD": Target([WHEEL_RECORD], "text", read_record_of_wheel),
    "variables": Target([b'{"A": "b", "env_vars": {"C": "d"}}'], "json", read_variables),
    "memos": Target([b"envlock-memo-1\0000.1.0\0key\0/prefix\0/path\0001 2 3 4"], "text", read_memo),
    "notes of projects": Target(
        [json.dumps({**KNOWN, "environments": {f"{'0' * 40}:{'1' * 40}": ["a", "b/c"]}}).encode()],
        "json",
        read_note_of_project,
    ),
    "sizes": Target([b"envlock-size-1\0-\x001.5\0001\0002\0003\0/a\0/b"], "text", read_size),
    "interpreters": Target([b'{"/usr/bin/python3": "1 2: cpython 3.12.1 - True x86_64"}'], "json", read_interpreters),
    "wheels": Target([_wheel()], "text", read_wheel),
    "locks of uv, poetry, pdm and PEP 751": Target(
        [each.encode() for each in (texts.UV, POETRY_LOCK, PDM_LOCK, texts.PYLOCK)], "toml", read_import
    ),
    "locks of conda's tools": Target(
        [each.encode() for each in (texts.PIXI, texts.CONDA_LOCK, texts.EXPLICIT)], "text", read_import
    ),
    "requirements with hashes": Target([texts.REQUIREMENTS.encode()], "text", read_import),
    "manifests of Metaflow": Target([each.encode() for each in (texts.MANIFEST, texts.NETFLIX)], "json", read_import),
    "uv's answers": Target(
        [PYLOCK],
        "toml",
        lambda _, data: select(data.decode("utf-8", "replace"), target_of(Requirements(), LINUX_64, "3.12.0")),
        says=NotAPylock,
    ),
    "pages of an index, in JSON": Target(
        [PAGE], "json", lambda _, data: files_in(data, "application/vnd.pypi.simple.v1+json"), says=ValueError
    ),
    "pages of an index, in HTML": Target(
        [b'<!DOCTYPE html><a href="a-1.0.whl#sha256=0" data-yanked="why">a</a>'],
        "text",
        lambda _, data: files_in(data, "text/html"),
        says=ValueError,
    ),
    "Metaflow's settings": Target([b'{"METAFLOW_DEFAULT_ENVIRONMENT": "x", "A": {"b": [1]}}'], "json", read_metaflow),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # To look at every process of the machine takes ten times as long as to read what stands in the home.
    monkeypatch.setattr(environments, "used_by_processes", lambda *, thorough: frozenset())
    (tmp_path / "requirements.txt").write_bytes(REQUIREMENTS)
    (tmp_path / "environment.yml").write_text("dependencies: [numpy]\n")
    (tmp_path / "pyproject.toml").write_bytes(PROJECT)
    (tmp_path / "team.toml").write_text('[envlock]\ncache = "s3://team/envlock"\n')
    (tmp_path / "libs/common").mkdir(parents=True)
    (tmp_path / "libs/common/pyproject.toml").touch()
    for flow in ("train", "nightly"):
        lines = [f"    @step\n    def {step}(self): pass\n" for step in ("start", "train", "score", "end")]
        head = f"from metaflow import FlowSpec, step\nclass {flow.capitalize()}Flow(FlowSpec):\n"
        (tmp_path / f"{flow}_flow.py").write_text(head + "".join(lines))
    return tmp_path


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_read_is_reported_or_passed_over(folder: Path, name: str) -> None:
    TARGETS[name].try_out(folder, seed=8, rounds=ROUNDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_so_is_what_nobody_thought_of(folder: Path, name: str) -> None:
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    TARGETS[name].try_out(folder, seed=seed, rounds=MANY)
