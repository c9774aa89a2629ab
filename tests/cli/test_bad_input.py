"""Whatever is wrong, it has a name, a place and a way out; nothing is half written, and nobody sees a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from envlock.__main__ import main
from envlock.model.arch import host_arch
from tests.conftest import Envlock
from tests.index import DROP, Index
from tests.support import ProjectFolder, read_only, snapshot

SERIES = "{}.{}".format(*sys.version_info[:2])
MakeIndex = Callable[..., Index]
FLOW = '[flow.DemoFlow]\nfile = "demoflow.py"\n'


@dataclass(frozen=True)
class Wrong:
    """A wrong envlock.toml: its tables, and what must be said of it."""

    name: str
    tables: str
    code: str
    at: tuple[str, ...]
    """The text of each line that must be cited, in order."""
    says: tuple[str, ...]
    settings: str = ""
    hint: str = "hint: "
    lock_only: bool = False
    """Whether it takes a resolution to find out."""
    status: int = 2

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


WRONG = [
    Wrong("not TOML", "[flow.DemoFlow\n", "not-toml", ("[flow.DemoFlow",), ("not valid TOML",)),
    Wrong("a table twice", "[env.a]\n[env.a]\n", "written-twice", ("[env.a]", "[env.a]"), ("`a`",)),
    Wrong("an unknown table", "[flows.DemoFlow]\n", "unknown-key", ("[flows.DemoFlow]",), ("`flows`",), hint="`flow`"),
    Wrong(
        "an unknown key of a level",
        FLOW + "pipy = { packages = { alpha = '' } }",
        "unknown-key",
        ("pipy = { packages = { alpha = '' } }",),
        ("`pipy`",),
        hint="did you mean `pypi`?",
    ),
    Wrong(
        "an unknown key of a table",
        FLOW + "pypi = { package = { alpha = '' } }",
        "unknown-key",
        ("pypi = { package = { alpha = '' } }",),
        ("`package`", "[flow.DemoFlow.pypi]"),
        hint="did you mean `packages`?",
    ),
    Wrong(
        "an unknown setting",
        "",
        "unknown-key",
        ("exclude_newer = '7d'",),
        ("exclude_newer",),
        settings="exclude_newer = '7d'",
        hint="did you mean `exclude-newer`?",
    ),
    Wrong(
        "a list for a table",
        FLOW + "pypi = { packages = ['alpha'] }",
        "wrong-type",
        ("pypi = { packages = ['alpha'] }",),
        ("must be a table, not a list",),
    ),
    Wrong(
        "a number for a version",
        FLOW + "[flow.DemoFlow.pypi.packages]\nalpha = 1.0",
        "wrong-type",
        ("alpha = 1.0",),
        ("or a list of strings or tables, not the number 1.0",),
        hint='alpha = "1.0"',
    ),
    Wrong("a string for a truth", FLOW + "disabled = 'yes'", "wrong-type", ("disabled = 'yes'",), ("true or false",)),
    Wrong(
        "a bad version specifier",
        FLOW + "[flow.DemoFlow.pypi.packages]\nalpha = '=>1'",
        "bad-version-specifier",
        ("alpha = '=>1'",),
        ("`=>1`", "examples: "),
        hint="examples: ",
    ),
    Wrong(
        "a bad marker",
        FLOW + "[flow.DemoFlow.pypi.packages]\nalpha = \"; sys_plattform == 'linux'\"",
        "bad-marker",
        ("alpha = \"; sys_plattform == 'linux'\"",),
        ("sys_plattform",),
    ),
    Wrong(
        "a bad package name",
        FLOW + "[flow.DemoFlow.pypi.packages]\n'al pha' = ''",
        "bad-package-name",
        ("'al pha' = ''",),
        ("`al pha`",),
        hint="letters, digits",
    ),
    Wrong(
        "conflicting values",
        FLOW + "[flow.DemoFlow.pypi.packages]\nNu_Name = '1'\n'nu-name' = '2'",
        "disagreeing-values",
        ("Nu_Name = '1'", "'nu-name' = '2'"),
        ("nu-name==1", "nu-name==2"),
    ),
    Wrong(
        "two pythons that disagree",
        FLOW + "pypi = { python = '3.11' }\nconda = { python = '3.12' }",
        "disagreeing-values",
        ("pypi = { python = '3.11' }", "conda = { python = '3.12' }"),
        ("`3.11`", "`3.12`"),
    ),
    Wrong(
        "a Python among the libraries that disagrees",
        FLOW + "conda = { python = '3.11' }\n[flow.DemoFlow.pypi.conda_only]\npython = '=3.12'",
        "disagreeing-values",
        ("conda = { python = '3.11' }", "python = '=3.12'"),
        ("`3.11` and `=3.12`",),
    ),
    Wrong(
        "no conda requirement",
        FLOW + "[flow.DemoFlow.conda.libraries]\nnumpy = '1 2 3'",
        "bad-conda-requirement",
        ("numpy = '1 2 3'",),
        ("`numpy 1 2 3`", "more than a version and a build"),
    ),
    Wrong(
        "no channel",
        FLOW + "conda = { channels = ['../channel'], libraries = { numpy = '' } }",
        "bad-channel",
        ("conda = { channels = ['../channel'], libraries = { numpy = '' } }",),
        ("`../channel`",),
        hint="file:///",
    ),
    Wrong(
        "a CUDA that is none",
        FLOW + "sys_packages = { packages = { __cuda = 'latest' } }",
        "bad-value",
        ("sys_packages = { packages = { __cuda = 'latest' } }",),
        ("`latest`", "one number, or two"),
        hint='__cuda = "12.4"',
    ),
    Wrong(
        "a floor of macOS for Linux",
        "",
        "unknown-key",
        ("system-requirements = { linux-64 = { __osx = '13.0' } }",),
        ("`__osx`", "keys: __glibc, __linux, __cuda, __archspec"),
        settings="system-requirements = { linux-64 = { __osx = '13.0' } }",
    ),
    Wrong(
        "an unknown arch",
        "",
        "unknown-arch",
        ('archs = ["linux-arm64"]',),
        ("`linux-arm64`", "osx-arm64"),
        settings='archs = ["linux-arm64"]',
        hint="did you mean",
    ),
    Wrong(
        "an unknown step",
        FLOW + "[flow.DemoFlow.step.tarin.pypi]",
        "unknown-step",
        ("[flow.DemoFlow.step.tarin.pypi]",),
        ("`tarin`", "start, train, end"),
        hint="did you mean `train`?",
    ),
    Wrong(
        "an unknown flow",
        FLOW.replace("flow.DemoFlow", "flow.DemFlow"),
        "unknown-flow",
        ("[flow.DemFlow]",),
        ("`DemFlow`", "DemoFlow"),
        hint="did you mean `DemoFlow`?",
    ),
    Wrong(
        "no flow file",
        FLOW.replace("demoflow", "nothing"),
        "flow-file-missing",
        ('file = "nothing.py"',),
        ("`nothing.py`",),
    ),
    Wrong("a flow without its file", "[flow.DemoFlow]", "flow-without-file", ("[flow.DemoFlow]",), ("`DemoFlow`",)),
    Wrong(
        "a bad python", "[env.a.pypi]\npython = 'three'", "bad-python-specifier", ("python = 'three'",), ("`three`",)
    ),
    Wrong(
        "a python that nothing satisfies",
        "[env.a.pypi]\npython = '>=3.99'",
        "no-fitting-python",
        ("python = '>=3.99'",),
        ("`>=3.99`", "required by a", "on this machine: 3."),
        hint="widen `python`",
        lock_only=True,
        status=4,
    ),
    Wrong(
        "a python that cannot be",
        "[env.a.pypi]\npython = '>=3.12,<3.11'",
        "no-fitting-python",
        ("python = '>=3.12,<3.11'",),
        ("required by a",),
        lock_only=True,
        status=4,
    ),
    Wrong(
        "a python that is older than what can be locked",
        "[env.a.pypi]\npython = '2.7'",
        "python-too-old",
        ("python = '2.7'",),
        ("`2.7`", "Python 3.6 or later"),
        hint="use Python 3.6 or later",
    ),
    Wrong(
        "an exact python that uv does not have",
        "[env.a.pypi]\npython = '>=3.99'",
        "no-python-build",
        ("python = '>=3.99'",),
        ("`>=3.99`",),
        settings='python-from = "uv"',
        lock_only=True,
        status=4,
    ),
    Wrong(
        "a bad source of pythons",
        "",
        "bad-value",
        ('python-from = "pyenv"',),
        ("machine, uv, conda",),
        settings='python-from = "pyenv"',
    ),
    Wrong(
        "a bad instant",
        "",
        "bad-instant",
        ("exclude-newer = 'yesterday'",),
        ("`yesterday`",),
        settings="exclude-newer = 'yesterday'",
    ),
    Wrong(
        "a bad index",
        "",
        "bad-index-url",
        ("extra-indices = ['not a url']",),
        ("`not a url`",),
        settings="extra-indices = ['not a url']",
    ),
    Wrong(
        "a pip flag without meaning",
        FLOW + "pypi = { extras = ['no-deps'], packages = { alpha = '' } }",
        "bad-value",
        ("pypi = { extras = ['no-deps'], packages = { alpha = '' } }",),
        ("`no-deps`", "`pre`"),
    ),
    Wrong(
        "a package that no index has",
        "[env.a.pypi.packages]\nno-such-thing = ''",
        "no-such-package",
        ("no-such-thing = ''",),
        ("`no-such-thing`",),
        lock_only=True,
        status=4,
    ),
    Wrong(
        "a version that was never published",
        "[env.a.pypi.packages]\nalpha = '7.7'",
        "no-solution",
        ("alpha = '7.7'",),
        ("7.7",),
        lock_only=True,
        status=4,
    ),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_configuration_is_explained(
    project: ProjectFolder, wrong: Wrong, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write_flow()
    project.write(wrong.tables, settings=wrong.settings, archs=None if "archs" in wrong.settings else ["linux-64"])
    before = project.snapshot()
    lines = project.config.read_text().splitlines()
    cited = [at + 1 for text in dict.fromkeys(wrong.at) for at, line in enumerate(lines) if line == text]
    assert len(cited) == len(wrong.at)
    monkeypatch.chdir(project.folder)
    assert main(["lock" if wrong.lock_only else "check"]) == wrong.status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count(f"error[{wrong.code}]: ") == 1
    for words in (*wrong.says, wrong.hint):
        assert words in said.err
    at = [line.strip() for line in said.err.splitlines() if line.startswith("  at ")]
    assert [place.split(" ")[1] for place in at] == [f"envlock.toml:{line}" for line in cited]
    assert main(["lock", "--json"]) == wrong.status
    machine = json.loads(capsys.readouterr().out)["error"]
    assert machine["code"] == wrong.code
    assert [place["line"] for place in machine["locations"]] == cited
    assert project.snapshot() == before


def test_every_command_explains_a_wrong_configuration(project: ProjectFolder, envlock: Envlock) -> None:
    project.write("[env.demo.pypi]\npythn = '3.12'")
    for arguments in ("check", "lock", "push", "create", "run -- true", "path", "show", "cache ls", "add lam"):
        said = envlock(*arguments.split(), check=2).stderr
        assert "error[unknown-key]: `pythn`" in said, arguments


def test_everything_that_is_wrong_is_shown_at_once(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_flow()
    project.write(FLOW + "[flow.DemoFlow.pypi.packages]\nalpha = 1\nlam = '=>2'\n'-x' = ''")
    said = envlock("lock", check=2).stderr
    for code in ("wrong-type", "bad-version-specifier", "bad-package-name"):
        assert f"error[{code}]" in said


def test_bytes_that_are_no_text(project: ProjectFolder, envlock: Envlock) -> None:
    project.config.write_bytes(b"[envlock]\ncache = '\xff\xfe'\n")
    for command in ("check", "lock"):
        said = envlock(command, check=2).stderr
        assert "error[" in said
        assert "envlock.toml" in said


def test_no_envlock_toml(envlock: Envlock, tmp_path: Path) -> None:
    for command in ("check", "lock", "push"):
        said = envlock(command, cwd=tmp_path, check=2).stderr
        assert "error[no-config]" in said
        assert "hint: envlock init" in said


@pytest.mark.parametrize(
    "arguments", [["lokc"], ["lock", "--ach", "linux-64"], ["check", "--format", "xml"], ["lock", "--arch", "linux"]]
)
def test_wrong_usage(project: ProjectFolder, envlock: Envlock, arguments: list[str]) -> None:
    project.write_env("lam")
    said = envlock(*arguments, check=2).stderr
    assert "error[" in said


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("tree --depth x", "`x` is no whole number of at least 0"),
        ("cache gc --keep-moves 0", "`0` is no whole number of at least 1"),
        ("diff --format html", "`html` is none of table, markdown, json"),
    ],
)
def test_a_value_that_an_option_does_not_take(capsys: pytest.CaptureFixture[str], command: str, told: str) -> None:
    assert main(command.split()) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "near"),
    [(["--step", "tarin"], "train"), (["--flow", "DemoFow"], "DemoFlow"), (["--env", "bas"], "base")],
)
def test_a_choice_that_is_not_there(project: ProjectFolder, envlock: Envlock, options: list[str], near: str) -> None:
    project.write_flow()
    project.write(FLOW + "[env.base.pypi]\n", archs=["linux-64"])
    for command in ("lock", "check", "push"):
        said = envlock(command, *options, check=2).stderr
        assert "error[no-such-selection]" in said
        assert f"did you mean `{near}`?" in said
    assert not project.lock_folder.exists()


# Indexes in trouble.


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ("closed", "index-unreachable"),
        (500, "index-unreachable"),
        (DROP, "index-unreachable"),
        (401, "index-unauthorized"),
        (403, "index-unauthorized"),
        ("elsewhere", "index-not-found"),
    ],
)
def test_an_index_in_trouble(
    make_index: MakeIndex, tmp_path: Path, envlock: Envlock, trouble: str | int, code: str
) -> None:
    served = make_index()
    project = ProjectFolder.make(tmp_path / "project", served.url if trouble != "elsewhere" else f"{served.base}other/")
    project.write_env("alpha", archs=["linux-64", "osx-64"])
    if trouble == "closed":
        served.close()
    elif isinstance(trouble, int):
        served.fail("simple/*", status=trouble)
    said = envlock("lock", check=4, env={"UV_HTTP_RETRIES": "0"}).stderr
    assert f"error[{code}]" in said
    assert "hint: " in said
    assert trouble == "elsewhere" or "(envlock.index-url)" in said
    assert "linux-64" in said
    assert "osx-64" in said
    assert not project.lock_folder.exists()


# Locks and folders.


def test_locks_in_trouble(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam", python=SERIES)
    envlock("lock")
    path = project.lock_of(host_arch())
    whole = path.read_text()
    shown = str(path.relative_to(project.folder))
    for text, code, status in (
        (whole[: len(whole) // 2], "damaged-lock", 3),
        ("", "damaged-lock", 3),
        (whole.replace("format = 1", "format = 4"), "newer-lock-format", 2),
        (f"<<<<<<< ours\n{whole}=======\n{whole}>>>>>>> theirs\n", "conflict-markers", 3),
    ):
        path.write_text(text)
        before = project.snapshot()
        assert shown in envlock("check", check=status).stdout
        settles = [] if code == "conflict-markers" else [["lock"]]  # `lock` is what repairs that
        for command in (*settles, ["push"], ["create"], ["run", "--", "true"]):
            said = envlock(*command, check=status).stderr
            assert f"error[{code}]" in said
            assert shown in said
            assert "hint: " in said
        assert project.snapshot() == before
    assert "settled demo" in envlock("lock").stdout
    envlock("check")


def test_a_read_only_lock_folder(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam")
    envlock("lock")
    old = snapshot(project.lock_folder)
    with read_only(project.lock_folder):
        assert "nothing changed" in envlock("lock").stdout
        envlock("check")
        project.write_env("lam", "iota")
        said = envlock("lock", check=2).stderr
        assert "error[unwritable-lock-folder]" in said
        assert "envlock.lock" in said
        assert "hint: " in said
        assert snapshot(project.lock_folder) == old
        envlock("check", check=1)
        project.write("", archs=["linux-64"])  # all that is to do now is to delete
        assert "error[unwritable-lock-folder]" in envlock("lock", check=2).stderr
        assert snapshot(project.lock_folder) == old
    project.write_env("lam", "iota")
    envlock("lock")
    envlock("check")


def test_a_read_only_project(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam")
    with read_only(project.folder):
        said = envlock("lock", check=2).stderr
        assert "error[unwritable-lock-folder]" in said
        envlock("check", check=1)
    assert not project.lock_folder.exists()


def test_a_file_where_the_lock_folder_should_be(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam")
    project.lock_folder.write_text("not a folder\n")
    said = envlock("lock", check=2).stderr
    assert "error[unwritable-lock-folder]" in said
    assert project.lock_folder.read_text() == "not a folder\n"
    envlock("check", check=1)


def test_a_folder_where_a_lock_should_be(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam", archs=["linux-64"])
    envlock("lock")
    path = project.lock_of("linux-64")
    path.unlink()
    path.mkdir()
    assert "cannot be read" in envlock("check", check=3).stdout
    assert "error[damaged-lock]" in envlock("lock", check=3).stderr
    assert "error[damaged-lock]" in envlock("push", check=3).stderr


def test_a_damaged_lock_is_made_again_by_an_upgrade(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha", archs=["linux-64", "osx-64"])
    envlock("lock")
    path = project.lock_of("linux-64")
    whole = path.read_text()
    path.write_text(whole.replace('dependencies = [{name = "beta"}], ', ""))
    envlock("check", check=3)
    envlock("lock", "--upgrade")
    assert path.read_text().split("[tool.envlock.stamp]")[0] == whole.split("[tool.envlock.stamp]")[0]
    envlock("check")


def test_a_lock_under_another_name(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha", archs=["linux-64"])
    envlock("lock")
    path = project.lock_of("linux-64")
    path.rename(path.with_name("pylock." + "0" * 40 + ".toml"))
    envlock("check", check=3)
    envlock("push", check=3)
    assert "settled demo" in envlock("lock").stdout, "a merge leaves such files"
    assert project.locks == (path,)
    envlock("check")


@pytest.mark.parametrize("linked", [".", "linux-64"])
def test_a_folder_of_locks_that_is_a_link_out_of_the_project(
    linked: str, project: ProjectFolder, envlock: Envlock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As of a lock file that is one: what is not of the project is neither read, nor written, nor deleted."""
    project.write_env("alpha", archs=["linux-64"])
    envlock("lock")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "locks"
    link = project.lock_folder / linked
    link.rename(elsewhere)
    link.symlink_to(elsewhere, target_is_directory=True)
    before = sorted(elsewhere.rglob("*"))
    assert "leads out of the project" in envlock("check", check=3).stdout
    project.write_env("alpha", "lam", archs=["linux-64"])
    said = envlock("lock", check=2).stderr
    assert "error[unwritable-lock-folder]" in said
    assert "leads out of the project" in said
    assert f"at {(Path('envlock.lock') / linked).as_posix()}\n" in said
    assert "hint: delete the link" in said
    project.config.write_text("[envlock]\n")  # all locks are unused
    assert "leads out of the project" in envlock("lock", check=2).stderr
    assert sorted(elsewhere.rglob("*")) == before


def test_a_disk_that_is_full_while_locking(project: ProjectFolder, envlock: Envlock, small_disk: Path) -> None:
    project.write_env("alpha", "lam")
    (small_disk.parent / ".git").mkdir()  # so that the disk is of the project
    project.lock_folder.symlink_to(small_disk, target_is_directory=True)
    fill(small_disk / "filler", leave=5000)
    said = envlock("lock", check=2).stderr
    assert "error[unwritable-lock-folder]" in said
    assert "No space left" in said
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["filler"]


def test_a_disk_that_is_full_while_hydrating(project: ProjectFolder, envlock: Envlock, small_disk: Path) -> None:
    project.write_env("lam", python=SERIES, archs=[host_arch()])
    envlock("lock")
    fill(small_disk / "filler", leave=4096)
    home = {"ENVLOCK_HOME": str(small_disk / "home"), "UV_CACHE_DIR": str(small_disk / "uv")}
    said = envlock("create", check=5, env=home).stderr
    assert "error[" in said
    assert "hint: " in said
    assert not list(small_disk.glob("home/environments/metaflow_*"))
    (small_disk / "filler").unlink()
    prefix = envlock("create", env=home).stdout.strip()
    assert Path(prefix).is_dir()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(path: Path, *, leave: int) -> None:
    """Write until so many bytes, in whole pages, are left."""
    free = os.statvfs(path.parent)
    path.write_bytes(b"x" * max((free.f_bavail * free.f_frsize - leave) // 4096 * 4096, 0))


# Bytes that are not what the lock says.


@pytest.fixture
def one_package(make_index: MakeIndex, tmp_path: Path, envlock: Envlock) -> tuple[Index, ProjectFolder]:
    """A locked project with one package, on an index of its own."""
    served = make_index()
    project = ProjectFolder.make(tmp_path / "project", served.url)
    project.write_env("lam", python=SERIES, archs=[host_arch()])
    envlock("lock")
    return served, project


WHEEL = "lam-1.0-py3-none-any.whl"


def test_other_bytes_upstream(one_package: tuple[Index, ProjectFolder], envlock: Envlock, isolated: Path) -> None:
    served, project = one_package
    served.tamper(WHEEL)
    for command in (["push"], ["create"], ["run", "--", "lam"]):
        said = envlock(*command, check=3).stderr
        assert "error[upstream-hash-mismatch]" in said
        assert WHEEL in said
        assert "hint: " in said
    kept = [path for folder in (project.folder, isolated) for path in folder.rglob("*") if WHEEL in path.name]
    assert kept == []
    served.mend()
    assert envlock("run", "--", "lam").stdout == "lam 1.0\n"


def test_other_bytes_in_the_cache(one_package: tuple[Index, ProjectFolder], envlock: Envlock) -> None:
    served, project = one_package
    envlock("push")
    served.close()
    (cached,) = (project.folder / "envlock-cache").rglob(WHEEL)
    whole = cached.read_bytes()
    cached.chmod(0o644)
    cached.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for command in (["create", "--offline"], ["run", "--offline", "--", "lam"], ["cache", "verify"]):
        ran = envlock(*command, check=3)
        assert WHEEL in ran.text
    cached.write_bytes(whole)
    assert envlock("run", "--offline", "--", "lam").stdout == "lam 1.0\n"


def test_a_file_that_is_gone_upstream(one_package: tuple[Index, ProjectFolder], envlock: Envlock) -> None:
    served, _ = one_package
    served.fail(f"files/*/{WHEEL}", status=404)
    for command in (["push"], ["create"]):
        said = envlock(*command, check=4).stderr
        assert "error[upstream-missing]" in said
        assert WHEEL in said


def test_an_upstream_that_does_not_answer(one_package: tuple[Index, ProjectFolder], envlock: Envlock) -> None:
    served, _ = one_package
    served.close()
    said = envlock("create", check=4).stderr
    assert "error[upstream-unreachable]" in said
    assert "127.0.0.1" in said
