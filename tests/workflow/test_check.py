"""The nineteen drifts, each with the one right verdict, and what `check` never does whatever it finds.

A project is locked once, from a real index; each test gets a copy of it, drifts it, and asks the real command.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.config.selection import Selection
from envlock.lockfile.errors import DamagedLock
from envlock.lockfile.folder import lock_bytes, read_lock, write_lock
from envlock.model.lock import LockedPackage, LockedPython
from envlock.workflow.check import check, check_and_read
from envlock.workflow.errors import HostNotAllowed
from envlock.workflow.hydrate import hydrate
from envlock.workflow.lock import lock
from tests.config.test_layers import PLACE_VALUES
from tests.conftest import Envlock
from tests.index import Index
from tests.support import ProjectFolder, isolation, run_envlock

ARCHS = ("linux-64", "osx-arm64")
CONFIG = """\
[flow.DemoFlow]
file = "demoflow.py"

[flow.DemoFlow.pypi]
python = "3.12"

[flow.DemoFlow.pypi.packages]
alpha = ">=1"
lam = ""
"""
"""Locked: alpha 2.0 (asked for), which needs beta 2.0 (not asked for), and lam 1.0."""


@pytest.fixture(scope="module")
def locked(index: Index, tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[ProjectFolder]:
    """The locked project that the tests copy; never changed."""
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        project = ProjectFolder.make(tmp_path_factory.mktemp("drifts") / "project", index.url)
        project.write_flow()
        project.write(CONFIG, archs=ARCHS)
        run_envlock("lock", cwd=project.folder)
        yield project


@pytest.fixture
def copy(locked: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    """A copy of the locked project, to be drifted."""
    return locked.copy(tmp_path / "project")


@dataclass(frozen=True)
class Drift:
    """Something that happens to a project, and what `check` must make of it."""

    name: str
    happen: Callable[[ProjectFolder], None]
    status: int
    verdicts: frozenset[str] = frozenset()
    says: tuple[str, ...] = ()
    """What the text must contain."""
    at: str = ""
    """A regular expression that `path:line` of a finding must match."""

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def in_config(old: str, new: str) -> Callable[[ProjectFolder], None]:
    return lambda project: project.edit(old, new)


def after_python(*lines: str) -> Callable[[ProjectFolder], None]:
    return in_config('python = "3.12"', "\n".join(['python = "3.12"', *lines]))


def in_lock(old: str, new: str) -> Callable[[ProjectFolder], None]:
    """Substitute in a lock's text, by regular expression, once."""

    def happen(project: ProjectFolder) -> None:
        path = project.lock_of("linux-64")
        text, times = re.subn(old, new, path.read_text(), count=1, flags=re.MULTILINE)
        assert times == 1
        path.write_text(text)

    return happen


def flip_a_hash(project: ProjectFolder) -> None:
    path = project.lock_of("linux-64")
    text = path.read_text()
    at = text.index('sha256 = "') + len('sha256 = "')
    path.write_text(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :])


def conflict(project: ProjectFolder) -> None:
    path = project.lock_of("linux-64")
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join(["<<<<<<< HEAD\n", first, "=======\n", first, ">>>>>>> other\n", *rest]))


NINETEEN = [
    Drift("nothing", lambda _: None, 0, says=("fresh",)),
    Drift("a comment in envlock.toml", in_config("[flow.DemoFlow]", "# because\n[flow.DemoFlow] # why"), 0),
    Drift("two requirements change places", in_config('alpha = ">=1"\nlam = ""', 'lam = ""\nalpha = ">=1"'), 0),
    Drift(
        "a range is tightened and the pin fits",
        in_config('">=1"', '">=1.1,<3"'),
        1,
        frozenset({"restamp"}),
        says=("alpha>=1.1,<3", "alpha 2.0", "re-stamp", "repair: envlock lock"),
        at=r"envlock\.toml:\d+$",
    ),
    Drift(
        "a range is tightened and the pin violates it",
        in_config('">=1"', '"<2"'),
        1,
        frozenset({"stale"}),
        says=("alpha<2", "alpha 2.0", "repair: envlock lock"),
        at=r"envlock\.toml:\d+$",
    ),
    Drift(
        "a requirement is added",
        in_config('lam = ""', 'lam = ""\niota = ">=1"'),
        1,
        frozenset({"stale"}),
        says=("iota>=1", "not locked"),
        at=r"envlock\.toml:\d+$",
    ),
    Drift("a requirement is dropped", in_config('lam = ""\n', ""), 1, frozenset({"stale"}), says=("lam",)),
    Drift(
        "the python range changes",
        in_config('python = "3.12"', 'python = "3.11"'),
        1,
        frozenset({"stale"}),
        says=("python", "3.11", "3.12"),
        at=r"envlock\.toml:\d+$",
    ),
    Drift(
        "an index is added",
        after_python('extra_indices = ["https://index.example/simple/"]'),
        1,
        frozenset({"stale"}),
        says=("extra_indices", "https://index.example/simple/"),
    ),
    Drift("a hash is tampered with", flip_a_hash, 3, frozenset({"damaged"}), says=("DAMAGED", "digest")),
    Drift(
        "a URL's host is tampered with",
        in_lock(r'(name = "alpha".* url = "http://)127\.0\.0\.1:\d+', r"\1files.index.example"),
        3,
        frozenset({"damaged"}),
    ),
    Drift(
        "the version of a transitive package is edited",
        in_lock('name = "beta", version = "2.0"', 'name = "beta", version = "1.5"'),
        3,
        frozenset({"damaged"}),
    ),
    Drift("a transitive package is deleted", in_lock(r'^    \{name = "beta".*\n', ""), 3, frozenset({"damaged"})),
    Drift("a direct package is deleted", in_lock(r'^    \{name = "lam".*\n', ""), 3, frozenset({"damaged"})),
    Drift("an edge is deleted", in_lock(r' dependencies = \[\{name = "beta"\}\],', ""), 3, frozenset({"damaged"})),
    Drift(
        "white space and a comment in a lock",
        in_lock(r'^packages = \[\n    \{name = "alpha"', '\n# reviewed\npackages = [\n  {  name = "alpha"'),
        0,
    ),
    Drift("merge conflict markers in a lock", conflict, 3, frozenset({"damaged"}), says=("merge conflict",), at=r":1$"),
    Drift(
        "no lock at all",
        lambda project: shutil.rmtree(project.lock_folder),
        1,
        frozenset({"missing"}),
        says=("not locked", "never locked", "repair: envlock lock"),
        at=r"envlock\.toml:\d+$",
    ),
    Drift(
        "no lock for one arch",
        lambda project: project.lock_of("osx-arm64").unlink(),
        1,
        frozenset({"arch-missing"}),
        says=("on osx-arm64", "locked only for linux-64", "repair: envlock lock --arch osx-arm64"),
        at=r"envlock\.toml:\d+$",
    ),
]


def two_branches(project: ProjectFolder) -> None:
    """As after a merge of two branches that were both locked: another valid lock of the same requirements."""
    from dataclasses import replace

    from envlock.lockfile.folder import read_lock, write_lock

    lock = read_lock(project.lock_of("linux-64"))
    first = replace(lock.packages[0], sha256="0" * 64)
    write_lock(project.lock_folder, replace(lock, packages=(first, *lock.packages[1:])))


def move_lock(project: ProjectFolder) -> None:
    path = project.lock_of("linux-64")
    path.rename(path.with_name("pylock." + "0" * 40 + ".toml"))


def truncate(project: ProjectFolder) -> None:
    path = project.lock_of("linux-64")
    path.write_bytes(path.read_bytes()[:700])


MORE = [
    Drift(
        "a package is added",
        in_lock(
            r"^packages = \[$",
            'packages = [\n    {name = "zz", version = "1", wheels = ['
            '{url = "https://index.example/zz-1-py3-none-any.whl", hashes = {sha256 = "' + "0" * 64 + '"}}]},',
        ),
        3,
        frozenset({"damaged"}),
    ),
    Drift("a hash is deleted", in_lock(r', hashes = \{sha256 = "[0-9a-f]{64}"\}', ""), 3, frozenset({"damaged"})),
    Drift("a size is edited", in_lock(r"size = \d+", "size = 1"), 3, frozenset({"damaged"})),
    Drift("a key is added", in_lock(r"^created-by", 'evil = "yes"\ncreated-by'), 3, frozenset({"damaged"})),
    Drift("a table is added", in_lock(r"\Z", '\n[tool.other]\nkey = "value"\n'), 3, frozenset({"damaged"})),
    Drift("the environments marker is edited", in_lock("x86_64'", "aarch64'"), 3, frozenset({"damaged"})),
    Drift("requires-python is edited", in_lock(r'"==3\.12\.\*"', '">=3"'), 3, frozenset({"damaged"})),
    Drift("the digest is edited", in_lock('^digest = "[0-9a-f]', 'digest = "g'), 3, frozenset({"damaged"})),
    Drift("the full-id is edited", in_lock('^full-id = "[0-9a-f]', 'full-id = "g'), 3, frozenset({"damaged"})),
    Drift("a requirement in the lock is edited", in_lock('"alpha>=1"', '"alpha>=2"'), 3, frozenset({"damaged"})),
    Drift(
        "the locked python is edited",
        in_lock(r'^version = "3\.12\.0"', 'version = "3.12.1"'),
        3,
        frozenset({"damaged"}),
    ),
    Drift("the stamp is deleted", in_lock(r"^\[tool\.envlock\.stamp\]\n(.*\n)*", ""), 3, frozenset({"damaged"})),
    Drift("a lock is cut off", truncate, 3, frozenset({"damaged"})),
    Drift("a lock is empty", lambda project: project.lock_of("linux-64").write_bytes(b""), 3, frozenset({"damaged"})),
    Drift(
        "a lock is not text",
        lambda project: project.lock_of("linux-64").write_bytes(b"\xff\xfe\x00"),
        3,
        frozenset({"damaged"}),
    ),
    Drift("a lock lies under another name", move_lock, 3, frozenset({"damaged"})),
    Drift(
        "a lock of a newer format",
        in_lock("^format = 1$", "format = 99"),
        2,
        frozenset({"unreadable"}),
        says=("99", "upgrade envlock"),
    ),
    Drift(
        "line ends of another system",
        lambda project: project.lock_of("linux-64").write_bytes(
            project.lock_of("linux-64").read_bytes().replace(b"\n", b"\r\n")
        ),
        0,
    ),
    Drift("who locked it is edited", in_lock("^resolved-by = .*", 'resolved-by = "somebody"'), 0),
    Drift(
        "two locks of the same requirements",
        two_branches,
        1,
        frozenset({"two-locks"}),
        says=("locked twice", "repair: envlock lock"),
    ),
    Drift(
        "a host that is not allowed",
        in_config("[envlock]", '[envlock]\nhosts = ["index.example"]'),
        3,
        frozenset({"host-not-allowed"}),
        says=("127.0.0.1",),
    ),
    Drift("a host that is allowed", in_config("[envlock]", '[envlock]\nhosts = ["127.0.0.1"]'), 0),
    Drift(
        "a port that is not allowed",
        in_config("[envlock]", '[envlock]\nhosts = ["127.0.0.1:1"]'),
        3,
        frozenset({"host-not-allowed"}),
        says=("127.0.0.1",),
    ),
    Drift(
        "an arch is added",
        in_config('"linux-64", ', '"linux-64", "osx-64", '),
        1,
        frozenset({"arch-missing"}),
        says=("on osx-64",),
    ),
    Drift(
        "an arch is dropped",
        in_config('"linux-64", ', ""),
        1,
        frozenset({"orphan"}),
        says=("not needed by any environment",),
    ),
    Drift("a step is disabled", after_python("[flow.DemoFlow.step.end]", "disabled = true"), 0),
    Drift(
        "a floor is raised",
        in_config("[flow.DemoFlow]", "[envlock.system-requirements.linux-64]\n__glibc = '2.34'\n[flow.DemoFlow]"),
        1,
        frozenset({"stale", "restamp"}),
        says=("__glibc 2.34 on linux-64, locked for 2.28",),
    ),
    Drift("not TOML", in_config("[flow.DemoFlow]", "[flow.DemoFlow"), 2, says=("error[",)),
    Drift("an unknown step", after_python("[flow.DemoFlow.step.tarin]", "disabled = true"), 2, says=("tarin", "train")),
]


def test_there_are_nineteen() -> None:
    assert len(NINETEEN) == 19
    assert len({drift.name for drift in [*NINETEEN, *MORE]}) == len(NINETEEN) + len(MORE)


@pytest.mark.parametrize("drift", [*NINETEEN, *MORE], ids=str)
def test_a_drift_has_its_verdict(copy: ProjectFolder, envlock: Envlock, drift: Drift) -> None:
    drift.happen(copy)
    before = copy.snapshot()
    said = envlock("check", check=drift.status).text
    for words in drift.says:
        assert words in said
    machine = envlock("check", "--json", check=drift.status)
    if drift.verdicts or not drift.status:
        assert machine.json["exit_status"] == drift.status
        assert {finding["verdict"] for finding in machine.json["findings"]} == drift.verdicts
        for finding in machine.json["findings"]:
            assert finding["reasons"]
            assert finding["repair"]
            assert finding["environment"] or finding["verdict"] == "orphan"
    if drift.at:
        places = [f"{finding['path']}:{finding['line']}" for finding in machine.json["findings"]]
        assert places
        assert all(re.search(drift.at, place) for place in places), places
    assert copy.snapshot() == before


@pytest.mark.parametrize("drift", [drift for drift in NINETEEN if drift.status in {1, 3}], ids=str)
def test_a_code_host_gets_annotations(copy: ProjectFolder, envlock: Envlock, drift: Drift) -> None:
    drift.happen(copy)
    ran = envlock("check", "--format", "github", check=drift.status)
    lines = ran.stdout.splitlines()
    assert lines
    for line in lines:
        match = re.fullmatch(r"::error file=([^,]+),(?:line=(\d+),)?title=envlock%3A [^:]+::.+", line)
        assert match, line
        assert (copy.folder / match[1]).is_file()
        if match[2]:
            assert int(match[2]) <= len((copy.folder / match[1]).read_text().splitlines())
    assert "repair: " in ran.stdout


def test_paths_for_a_code_host_are_relative_to_the_checkout(copy: ProjectFolder, envlock: Envlock) -> None:
    flip_a_hash(copy)
    checkout = {"GITHUB_WORKSPACE": str(copy.folder.parent)}
    said = envlock("check", "--format", "github", check=3, env=checkout).stdout
    assert said.startswith("::error file=project/envlock.lock/linux-64/")


def test_the_line_of_a_finding_is_the_line_of_its_cause(copy: ProjectFolder, envlock: Envlock) -> None:
    in_config('">=1"', '"<2"')(copy)
    finding = envlock("check", "--json", check=1).json["findings"][0]
    assert copy.config.read_text().splitlines()[finding["line"] - 1].startswith("alpha")


@pytest.mark.parametrize("drift", [drift for drift in NINETEEN if drift.status == 1], ids=str)
def test_the_repair_repairs(copy: ProjectFolder, envlock: Envlock, drift: Drift) -> None:
    drift.happen(copy)
    text = copy.config.read_text()  # an index that is not there cannot be locked from
    copy.config.write_text(text.replace("https://index.example/simple/", copy.index_url + "../simple/"))
    for finding in envlock("check", "--json", check=1).json["findings"]:
        envlock(*finding["repair"].split()[1:])
    envlock("check")


def test_a_damaged_lock_is_repaired_by_deleting_it(copy: ProjectFolder, envlock: Envlock) -> None:
    whole = copy.lock_of("linux-64").read_bytes()
    flip_a_hash(copy)
    said = envlock("lock", check=3).stderr
    assert "error[damaged-lock]" in said
    assert str(copy.lock_of("linux-64").relative_to(copy.folder)) in said
    copy.lock_of("linux-64").unlink()
    envlock("lock")
    envlock("check")
    assert (
        copy.lock_of("linux-64").read_bytes().split(b"[tool.envlock.stamp]")[0]
        == whole.split(b"[tool.envlock.stamp]")[0]
    )


# What check never does.


@pytest.mark.parametrize("drift", NINETEEN, ids=str)
def test_check_writes_nothing_starts_nothing_and_sends_no_request(
    copy: ProjectFolder, watched: Envlock, drift: Drift
) -> None:
    drift.happen(copy)
    assert watched("check", check=drift.status).effects == ()


def test_check_works_when_the_index_is_gone(make_index: Callable[..., Index], tmp_path: Path, envlock: Envlock) -> None:
    served = make_index()
    project = ProjectFolder.make(tmp_path / "project", served.url)
    project.write_env("alpha>=1", archs=ARCHS)
    envlock("lock")
    served.close()
    envlock("check")
    project.write_env("alpha>=1.1", archs=ARCHS)
    assert "re-stamp" in envlock("check", check=1).stdout


def test_check_leaves_no_trace_at_home(copy: ProjectFolder, envlock: Envlock, isolated: Path) -> None:
    envlock("check")
    flip_a_hash(copy)
    envlock("check", check=3)
    assert not list(isolated.iterdir())


def test_check_says_the_same_from_any_folder(copy: ProjectFolder, envlock: Envlock) -> None:
    in_config('">=1"', '"<2"')(copy)
    below = copy.folder / "below" / "deep"
    below.mkdir(parents=True)
    here = envlock("check", check=1).stdout
    assert envlock("check", cwd=below, check=1).stdout == here
    assert envlock("check", "--config", str(copy.config), cwd=copy.folder.parent, check=1).stdout == here


@pytest.mark.parametrize(
    ("narrowing", "status"),
    [
        (["--arch", "linux-64"], 3),
        (["--arch", "osx-arm64"], 0),
        (["--step", "train"], 3),
        (["--flow", "DemoFlow", "--step", "train", "--arch", "osx-arm64"], 0),
    ],
)
def test_check_can_be_narrowed(copy: ProjectFolder, envlock: Envlock, narrowing: list[str], status: int) -> None:
    flip_a_hash(copy)
    envlock("check", *narrowing, check=status)


def test_an_unknown_choice_is_an_error(copy: ProjectFolder, envlock: Envlock) -> None:
    for narrowing, hint in (
        (["--step", "tarin"], "train"),
        (["--flow", "Demoflow"], "DemoFlow"),
        (["--arch", "osx-64"], "osx-arm64"),
        (["--env", "base"], ""),
    ):
        said = envlock("check", *narrowing, check=2).stderr
        assert narrowing[1] in said
        assert hint in said


def test_json_of_an_error_is_json(copy: ProjectFolder, envlock: Envlock) -> None:
    copy.config.write_text("[envlock\n")
    ran = envlock("check", "--json", check=2)
    assert ran.json["error"]["code"]
    assert ran.json["error"]["locations"][0]["path"] == "envlock.toml"
    assert json.loads(ran.stdout)


def test_the_host_of_an_exact_python_is_to_be_allowed_too(project: ProjectFolder, envlock: Envlock) -> None:
    allowed = 'hosts = ["127.0.0.1"]'
    project.write_env("lam", archs=["linux-64"], settings=allowed)
    envlock("lock")
    path = project.lock_of("linux-64")
    lock = read_lock(path)
    path.unlink()
    python = LockedPython("uv", lock.python.version, "https://evil.example/1/python.tar.gz", "python.tar.gz", "0" * 64)
    required = lock.requirements._replace(python_from="uv")
    write_lock(project.lock_folder, replace(lock, python=python, requirements=required))
    allowed += '\npython-from = "uv"'
    project.write_env("lam", archs=["linux-64"], settings=allowed)
    assert "evil.example is not among the hosts" in envlock("check", check=3).stdout
    own = {"ENVLOCK_PYTHON_MIRROR": "https://mirror.example/"}
    assert "evil.example is not among the hosts" in envlock("check", check=3, env=own).stdout, "a machine's own mirror"
    mirror = 'python-mirror = "https://mirror.example/"'
    project.write_env("lam", archs=["linux-64"], settings=f"{allowed}\n{mirror}")
    envlock("check")


def changed_lock(project: ProjectFolder, **changes: object) -> None:
    """Put a lock of other content in the place of the first arch's, with digest and ids that fit."""
    path = project.lock_of(ARCHS[0])
    lock = read_lock(path)
    path.unlink()
    write_lock(project.lock_folder, replace(lock, **changes))  # type: ignore[arg-type]


def packages_of(project: ProjectFolder) -> dict[str, LockedPackage]:
    return {package.name: package for package in read_lock(project.lock_of(ARCHS[0])).packages}


def found(project: ProjectFolder) -> list[tuple[str, str]]:
    """CheckResult and reason of each finding."""
    return [(each.verdict, each.reasons[0]) for each in check(load_project(project.config)).findings[:1]]


@pytest.mark.parametrize("drift", [each for each in (*NINETEEN, *MORE) if each.status != 2], ids=str)
def test_whatever_a_machine_says_the_verdict_is_the_same(
    copy: ProjectFolder, drift: Drift, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drift.happen(copy)
    expected = check(load_project(copy.config))
    user = isolated / "config" / "envlock" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("[envlock]\n" + "".join(f"{key} = {value}\n" for key, value in PLACE_VALUES.items()))
    for variable, value in {"ENVLOCK_CACHE": "metaflow", "METAFLOW_PROFILE": "gone"}.items():
        monkeypatch.setenv(variable, value)
    assert check(load_project(copy.config)) == expected


def test_a_lock_without_a_requirement_is_damage(copy: ProjectFolder) -> None:
    there = packages_of(copy)
    changed_lock(copy, packages=(there["alpha"], there["beta"]))
    assert found(copy) == [("damaged", "lam is required, but not locked")]
    with pytest.raises(DamagedLock):
        lock(load_project(copy.config))


def test_a_lock_without_what_a_package_needs_is_damage(copy: ProjectFolder) -> None:
    there = packages_of(copy)
    changed_lock(copy, packages=(there["alpha"], there["lam"]))
    assert found(copy) == [("damaged", "a package depends on beta, which is not locked")]


def test_a_package_from_another_index_than_its_own_is_damage(copy: ProjectFolder) -> None:
    in_config("[envlock]", f'[envlock]\nindexes = {{ team = "{copy.index_url}" }}')(copy)
    in_config('alpha = ">=1"', 'alpha = { version = ">=1", index = "team" }')(copy)
    asked = next(each for each in load_project(copy.config).environments() if each.is_step).requirements
    alpha, *others = read_lock(copy.lock_of(ARCHS[0])).packages
    changed_lock(copy, requirements=asked)
    assert "damaged" not in {verdict for verdict, _ in found(copy)}
    changed_lock(copy, packages=(replace(alpha, index="https://other.example/simple"), *others))
    ((verdict, reason),) = found(copy)
    assert verdict == "damaged"
    assert "alpha 2.0 from https://other.example/simple is locked" in reason
    with pytest.raises(DamagedLock):
        lock(load_project(copy.config))


@pytest.mark.parametrize("elsewhere", ["index", "url"])
def test_every_url_of_a_lock_is_held_to_the_hosts(copy: ProjectFolder, elsewhere: str) -> None:
    there = packages_of(copy)
    strange = f"https://evil.example/{there['lam'].filename}"
    changed_lock(copy, packages=(there["alpha"], there["beta"], replace(there["lam"], **{elsewhere: strange})))
    assert found(copy) == []
    in_config("[envlock]", '[envlock]\nhosts = ["127.0.0.1"]')(copy)
    assert found(copy) == [("host-not-allowed", "evil.example is not among the hosts of envlock.toml")]
    before = copy.snapshot()
    with pytest.raises(HostNotAllowed) as caught:
        lock(load_project(copy.config))
    assert caught.value.locations[0].line == 2
    assert copy.snapshot() == before


def test_what_is_locked_again_is_held_to_the_hosts_before_it_is_written(project: ProjectFolder) -> None:
    project.write_env("lam", archs=ARCHS[:1], settings='hosts = ["files.example"]')
    with pytest.raises(HostNotAllowed, match="demo"):
        lock(load_project(project.config))
    assert not project.lock_folder.exists()


def test_a_lock_from_anywhere_is_held_to_the_hosts_before_it_is_hydrated(copy: ProjectFolder) -> None:
    locked = read_lock(copy.lock_of(ARCHS[0]))
    in_config("[envlock]", '[envlock]\nhosts = ["files.example"]')(copy)
    with pytest.raises(HostNotAllowed):
        hydrate(load_project(copy.config), locked)


def test_a_file_is_read_once_however_many_steps_share_it(copy: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path, **options: str) -> bytes:
        read.append(path)
        return lock_bytes(path, **options)

    monkeypatch.setattr("envlock.workflow.check_rules.lock_bytes", counted)
    verdict = check(load_project(copy.config))
    assert (verdict.exit_status, verdict.environments) == (0, 3)
    assert sorted(read) == sorted(copy.locks)


def test_who_goes_on_with_the_locks_gets_what_was_checked(copy: ProjectFolder) -> None:
    _, read = check_and_read(load_project(copy.config), Selection(archs=(ARCHS[0],)))
    assert {path: path.read_bytes() for path in copy.locks if ARCHS[0] in path.parts} == read
