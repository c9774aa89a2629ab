"""A source becomes a wheel once, in isolation, and the same one on every machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from envlock.build import in_environment
from envlock.build.errors import (
    BadBuildSystem,
    BadBuiltWheel,
    BuildFailed,
    BuildNeedsNetwork,
    BuildOfAnother,
    BuildWritesOutside,
    NoBuildRequirements,
    NotAProject,
    OfOneSource,
    SourceChanged,
    VersionFromGit,
)
from envlock.build.hooks import end_builds
from envlock.build.port import Built, Recipe
from envlock.build.wheels import _without_places, build, built_in
from envlock.interpreters import NoInterpreter, find_interpreter
from envlock.places import folder_in_home, home
from envlock.uv_command import uv_executable
from tests.build.sources import PROJECT, PYTHON, PYTHON_VERSION, of_archive, of_folder, tar_gz, write_project
from tests.index import Index, Release


@pytest.fixture(autouse=True)
def temporary(new_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for temporary files of one's own: other tests build at the same time."""
    monkeypatch.setattr(tempfile, "tempdir", str(new_folder("temporary")))


def built(recipe: Recipe, name: str = "") -> Built:
    return build(recipe, folder_in_home("builds", "wheels") / (name or recipe.key[:32]))


def left_behind() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("envlock-build-*"))


def failure(folder: Path, kind: type[OfOneSource], **facts: object) -> OfOneSource:
    with pytest.raises(kind) as raised:
        built(of_folder(folder, **facts))
    assert "Traceback" not in raised.value.message
    assert raised.value.exit_status == 4
    assert not list((home() / "builds" / "wheels").glob("*/*"))
    assert not left_behind()
    return raised.value


def test_a_folder_becomes_a_wheel_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    wheel = built(of_folder(write_project(tmp_path / "demo"), name="demo"))
    assert (wheel.name, wheel.version, wheel.is_pure, wheel.requires) == ("demo", "1.0", True, ())
    assert wheel.tags == ("py3-none-any",)
    assert wheel.path.name == wheel.filename == "demo-1.0-py3-none-any.whl"
    assert wheel.size == wheel.path.stat().st_size
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == sorted(PROJECT), "the folder is as it was"


def test_a_wheel_that_is_there_costs_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = of_folder(write_project(tmp_path / "demo"))
    first = built(recipe)

    def start(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", start)
    assert built(recipe) == first


def test_neither_umask_nor_place_nor_mode_nor_time_changes_the_wheel(tmp_path: Path) -> None:
    first = built(of_folder(write_project(tmp_path / "one")), "one")
    other = write_project(tmp_path / "elsewhere" / "two")
    for path in other.iterdir():
        path.chmod(0o600)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    before = os.umask(0o077)
    try:
        second = built(of_folder(other), "two")
    finally:
        os.umask(before)
    assert (second.sha256, second.path.read_bytes()) == (first.sha256, first.path.read_bytes())


def test_another_interpreter_of_the_series_makes_the_same_wheel(tmp_path: Path) -> None:
    try:
        other = find_interpreter(PYTHON_VERSION.rpartition(".")[0], lambda version: version != PYTHON_VERSION)
    except NoInterpreter:
        pytest.skip("this machine has one interpreter of the series")
    folder = write_project(tmp_path / "demo")
    first = built(of_folder(folder), "one")
    assert built(of_folder(folder, python=other.path, python_version=other.version), "two").sha256 == first.sha256


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_gets_the_same_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody, python = 65534, Path("/usr/bin/python3").resolve()
    first = built(of_folder(write_project(tmp_path / "demo"), python=python))
    with TemporaryDirectory(dir="/tmp") as folder:  # which is open to all users
        theirs = Path(folder)
        write_project(theirs / "demo")
        shutil.copy(uv_executable(), theirs / "uv")
        for each in (theirs, *theirs.rglob("*")):
            os.chown(each, nobody, nobody)
        monkeypatch.setattr("envlock.uv_command.uv_executable", lambda: theirs / "uv")
        for name, value in {"HOME": "", "ENVLOCK_HOME": "home", "TMPDIR": "", "UV_CACHE_DIR": "cache"}.items():
            monkeypatch.setenv(name, str(theirs / value))
        child = os.fork()
        if not child:
            try:
                os.umask(0o077)
                os.setgroups([])
                os.setgid(nobody)
                os.setuid(nobody)
                tempfile.tempdir = str(theirs)
                wheel = built(of_folder(theirs / "demo", python=python))
                os._exit(0 if wheel.sha256 == first.sha256 else 2)
            except BaseException:  # noqa: BLE001  the child of a fork must not go on
                traceback.print_exc()
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_build_sees_few_variables_and_folders_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "s3cr3t")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/")
    during = (
        "import json, tempfile, hashlib, pathlib\n"
        "pathlib.Path(os.path.expanduser('~/note')).write_text('')\n"
        "said = {**os.environ, 'cwd': os.getcwd(), 'tmp': tempfile.gettempdir(), 'umask': os.umask(0o022)}\n"
        "open('demo.py', 'w').write(json.dumps(said))\n"
    )
    wheel = built(of_folder(write_project(tmp_path / "demo", during)))
    with zipfile.ZipFile(wheel.path) as archive:
        said = json.loads(archive.read("demo.py"))
    assert not {"SECRET_TOKEN", "PYTHONPATH", "PIP_INDEX_URL"} & said.keys()
    assert (said["SOURCE_DATE_EPOCH"], said["PYTHONHASHSEED"], said["umask"]) == ("315532800", "0", 0o022)
    work = Path(said["cwd"]).parent
    assert work.name.startswith("envlock-build-")
    assert {Path(said[name]).parent for name in ("tmp", "HOME")} == {work}


def test_a_wheel_names_what_it_needs_without_places_of_this_machine(tmp_path: Path) -> None:
    """As Poetry writes them of folders; what other URLs say stays."""
    metadata = (
        "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
        "Requires-Dist: Two_B[x,y] @ file:///tmp/envlock-build-1/two ; python_version >= '3.9'\n"
        "Requires-Dist: three@file:///tmp/three\n"
        "Requires-Dist: four @ https://files.example/four-1-py3-none-any.whl\n"
        "Requires-Dist: five>=2\n\nA text @ file:///tmp/x\n"
    )
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in (
            ("demo.py", "X = 1\n"),
            ("demo-1.0.dist-info/METADATA", metadata),
            ("demo-1.0.dist-info/RECORD", "demo.py,,\ndemo-1.0.dist-info/METADATA,sha256=AAAA,12\n"),
        ):
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
    assert _without_places(wheel) == ["three", "two-b"]
    with zipfile.ZipFile(wheel) as archive:
        found = archive.read("demo-1.0.dist-info/METADATA")
        record = archive.read("demo-1.0.dist-info/RECORD").decode()
        assert archive.getinfo("demo.py").date_time[0] == 2020
    assert found.decode().splitlines()[3:7] == [
        "Requires-Dist: Two_B[x,y] ; python_version >= '3.9'",
        "Requires-Dist: three",
        "Requires-Dist: four @ https://files.example/four-1-py3-none-any.whl",
        "Requires-Dist: five>=2",
    ]
    digest = urlsafe_b64encode(hashlib.sha256(found).digest()).rstrip(b"=").decode()
    assert record == f"demo.py,,\ndemo-1.0.dist-info/METADATA,sha256={digest},{len(found)}\n"
    before = wheel.read_bytes()
    assert _without_places(wheel) == []
    assert wheel.read_bytes() == before


def test_a_failed_build_keeps_its_log_and_shows_its_last_lines(tmp_path: Path) -> None:
    said = "print('compiling the parser of https://me:pw@code.example/x', flush=True)"
    during = f"{said}\nprint('x' * 9999)\nraise RuntimeError('no grammar')\n"
    error = failure(write_project(tmp_path / "demo", during), BuildFailed, name="demo")
    assert error.source == "demo"
    assert any("no grammar" in line for line in error.details)
    assert all(len(line) <= 200 for line in error.details)
    assert error.log is not None
    assert error.log.is_relative_to(home() / "builds" / "logs")
    assert "compiling the parser of https://code.example/x\n" in error.log.read_text()


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("fatal error: Python.h: No such file or directory", "python3-dev"),
        ("x.c:3:10: fatal error: expat.h: No such file or directory", "`expat.h`"),
        ("x.c:3:10: fatal error: 'expat.h' file not found", "`expat.h`"),
        ("error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory", "build-essential"),
        ("error: command '/usr/bin/gcc' failed: No such file or directory", "build-essential"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'gcc'", "build-essential"),
        ("ModuleNotFoundError: No module named 'numpy.distutils'", "`numpy`"),
        ("something else", "the whole log"),
    ],
)
def test_what_builds_fail_with_often_has_a_hint(tmp_path: Path, said: str, hint: str) -> None:
    error = failure(write_project(tmp_path / "demo", f"import sys; sys.exit({said!r})"), BuildFailed)
    assert hint in (error.hint or "")


@pytest.mark.parametrize(
    "during",
    [
        "import shutil; shutil.rmtree(os.path.dirname(os.getcwd()))",
        "open('../refused', 'wb').write(b'\\xff x\\n\\n'); sys.exit('Python.h: No such file')",
        "os.kill(os.getppid(), 9)",
        "os.kill(os.getpid(), 9)",
        "import sys; sys.exit('no compiler')",
        "sys.exit(0)",
        "1/0",
    ],
)
def test_however_a_build_ends_it_is_an_error(tmp_path: Path, during: str) -> None:
    failure(write_project(tmp_path / "demo", during), BuildFailed)


def test_a_folder_whose_version_is_in_git_is_told_so(tmp_path: Path) -> None:
    during = "raise LookupError(f'setuptools-scm was unable to detect version for {os.getcwd()}.')"
    failure(write_project(tmp_path / "demo", during), VersionFromGit)


ASKS = {
    "urlopen": "import urllib.request; urllib.request.urlopen('http://files.example/grammar.jar?token=x')",
    "look-up": "import socket; socket.create_connection(('files.example', 443))",
    "address": "import socket; socket.create_connection(('192.0.2.1', 443), timeout=5)",
    "datagram": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    "child": (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', "
        "'import socket; socket.create_connection((\"files.example\", 443))'], check=True)"
    ),
    "fork": "import os\nif not os.fork():\n import urllib.request; urllib.request.urlopen('https://files.example/')\n"
    "assert os.wait()[1] == 0",
}


@pytest.mark.parametrize("asks", ASKS)
def test_a_build_that_asks_for_the_network_is_told_so(tmp_path: Path, asks: str) -> None:
    error = failure(write_project(tmp_path / "demo", ASKS[asks]), BuildNeedsNetwork)
    place = "192.0.2.1" if asks in {"address", "datagram"} else "files.example"
    assert place in error.message
    assert "token" not in error.message


def test_a_server_of_this_machine_is_the_network_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        during = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
        failure(write_project(tmp_path / "demo", during), BuildNeedsNetwork)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_build_that_does_without_the_network_is_no_failure(tmp_path: Path) -> None:
    during = (
        "import socket, urllib.request\n"
        "try:\n urllib.request.urlopen('https://files.example/')\nexcept OSError:\n pass\n"
        "print(socket.getfqdn())\n"
        "here, there = socket.socketpair(); here.send(b'x'); assert there.recv(1) == b'x'\n"
    )
    assert built(of_folder(write_project(tmp_path / "demo", during))).name == "demo"


def test_a_build_that_fails_for_another_reason_is_not_told_of_the_network(tmp_path: Path) -> None:
    during = (
        "import urllib.request\ntry:\n urllib.request.urlopen('https://files.example/')\nexcept OSError:\n pass\n"
        "sys.exit('x.c:3:10: fatal error: expat.h: No such file or directory')"
    )
    error = failure(write_project(tmp_path / "demo", during), BuildFailed)
    assert any("files.example" in line for line in error.details)
    during = during.replace("fatal error: expat.h: No such file or directory", "no grammar")
    failure(write_project(tmp_path / "demo", during), BuildNeedsNetwork)


WRITES = {
    "open": "open({path!r}, 'w')",
    "append": "open({path!r}, 'ab')",
    "os.open": "os.open({path!r}, os.O_CREAT | os.O_RDWR)",
    "mkdir": "os.makedirs({path!r} + '/a')",
    "rename": "open('x', 'w').close(); os.rename('x', {path!r})",
    "symlink": "os.symlink('/etc', {path!r})",
    "remove": "os.remove({there!r})",
    "truncate": "os.truncate({there!r}, 0)",
    "chmod": "os.chmod({there!r}, 0o777)",
    "through a link": "os.symlink({there!r}, 'link'); open('link', 'w')",
    "through a folder": "os.symlink({folder!r}, 'link'); open('link/new', 'w')",
    "relative": "open('../../../../../../../../../..' + {path!r}, 'w')",
    "rmtree": "import shutil; shutil.rmtree({folder!r})",
    "child": "import subprocess, sys; subprocess.run([sys.executable, '-c', \"open({path!r}, 'w')\"], check=True)",
}


@pytest.mark.parametrize("writes", WRITES)
def test_a_build_that_writes_outside_is_told_so(tmp_path: Path, writes: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "there").write_text("kept")
    (outside / "there").chmod(0o644)
    paths = {"path": str(outside / "new"), "there": str(outside / "there"), "folder": str(outside)}
    error = failure(write_project(tmp_path / "demo", WRITES[writes].format(**paths)), BuildWritesOutside)
    assert str(outside) in error.message
    assert [path.name for path in outside.iterdir()] == ["there"]
    assert ((outside / "there").read_text(), (outside / "there").stat().st_mode & 0o777) == ("kept", 0o644)


def may_give_up_rights() -> bool:
    code = "from envlock.build.in_environment import _stay_in; import sys; sys.exit(not _stay_in('/'))"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not may_give_up_rights(), reason="this kernel has no Landlock")
@pytest.mark.parametrize("program", ["touch {new}", "echo x > {there}", "rm {there}", "mkdir {new}", "mv x {new}"])
def test_no_program_that_a_build_starts_writes_outside(tmp_path: Path, program: str) -> None:
    outside = tmp_path / "outside"
    write_project(outside, there="kept")
    before = sorted(path.name for path in outside.iterdir())
    line = program.format(new=outside / "new", there=outside / "there")
    during = f"import subprocess; open('x', 'w').close(); subprocess.run(['sh', '-c', {line!r}], check={{check}})"
    error = failure(write_project(tmp_path / "demo", during.format(check=True)), BuildWritesOutside)
    assert str(outside) in error.message
    built(of_folder(write_project(tmp_path / "demo", during.format(check=False))))  # what fails alone is no failure
    assert sorted(path.name for path in outside.iterdir()) == before
    assert (outside / "there").read_text() == "kept"


def test_a_python_without_ctypes_builds_too(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ctypes'] = None\n"
        "from envlock.build import in_environment as each\n"
        "each._end_with_parent(); each._leave_network()\n"
        "sys.exit(each._stay_in('/') or (sys.version_info < (3, 12) and each._leaves_network()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_build_environment_cannot_be_written(tmp_path: Path) -> None:
    during = "import sysconfig; open(sysconfig.get_path('purelib') + '/evil.py', 'w')"
    failure(write_project(tmp_path / "demo", during), BuildWritesOutside)


def test_a_build_may_leave_the_network_as_any_user(tmp_path: Path) -> None:
    """Who is not root writes three files of its own process for that."""
    guard = in_environment._Guard(str(tmp_path))
    guard.on_event("open", ("/proc/self/setgroups", "w", os.O_WRONLY))
    with pytest.raises(PermissionError):
        guard.on_event("open", (f"/proc/{os.getppid()}/setgroups", "w", os.O_WRONLY))


def test_what_a_build_may_write(tmp_path: Path) -> None:
    during = (
        "import multiprocessing, shutil, subprocess, tempfile\n"
        "open(os.devnull, 'w').close()\n"
        "os.makedirs('made/below'); os.symlink('/etc', 'made/link'); os.remove('made/link')\n"
        "shutil.rmtree('made')\n"
        "with tempfile.TemporaryDirectory() as folder: open(folder + '/x', 'w').close()\n"
        "multiprocessing.Lock()\n"
        "subprocess.run('mkdir -p c/d; echo x > c/x; mv c/x c/d/y; ln -s y c/d/z; ln c/d/y c/w; rm -r c; : >/dev/null',"
        " shell=True, check=True)\n"
        "subprocess.run([sys.executable, '-c', 'open(\"child\", \"w\")'], check=True)\n"
    )
    assert built(of_folder(write_project(tmp_path / "demo", during))).name == "demo"


def test_no_bytecode_of_the_source_gets_into_a_wheel(tmp_path: Path) -> None:
    during = "sys.path.insert(0, '.'); import demo\nassert not os.path.exists('__pycache__'), os.listdir('.')\n"
    assert built(of_folder(write_project(tmp_path / "demo", during))).name == "demo"


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ("NAME = 'other'", {"name": "demo"}),
        ("VERSION = '2.0'", {"name": "demo", "version": "1.0"}),
    ],
)
def test_a_wheel_of_another_name_or_version_is_refused(tmp_path: Path, change: str, asked: dict[str, str]) -> None:
    error = failure(write_project(tmp_path / "demo", change), BuildOfAnother, **asked)
    assert ("other" if "NAME" in change else "2.0") in error.message


def test_versions_that_are_equal_may_be_written_otherwise(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "demo", "VERSION = '1.0.0'")
    assert built(of_folder(folder, name="Demo", version="1.0")).version == "1.0.0"


NO_WHEELS = {
    "another file": "def build_wheel(*_, **__):\n    return '../../../etc/passwd'\n",
    "no zip": "def build_wheel(wheels, *_, **__):\n    open(wheels + '/demo-1.0-py3-none-any.whl', 'w').close()\n"
    "    return 'demo-1.0-py3-none-any.whl'\n",
    "no tags": PROJECT["backend.py"].replace("py3-none-any", "py3"),
    "no METADATA": PROJECT["backend.py"].replace("/METADATA", "/OTHER"),
    "other METADATA": PROJECT["backend.py"].replace("Name: {NAME}", "Name: other"),
    "a password in METADATA": PROJECT["backend.py"].replace(
        "Version: {VERSION}\\n",
        "Version: {VERSION}\\nRequires-Dist: x @ git+https://me:pw@code.example/x ; extra == 'y'\\n",
    ),
}


@pytest.mark.parametrize("backend", NO_WHEELS)
def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path, backend: str) -> None:
    failure(write_project(tmp_path / "demo", backend__py=NO_WHEELS[backend]), BadBuiltWheel)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[build-system\n", BadBuildSystem),
        ("build-system = 1\n", BadBuildSystem),
        ("[build-system]\nrequires = 'setuptools'\n", BadBuildSystem),
        ("[build-system]\nbuild-backend = 'x'\n", BadBuildSystem),
        ("[build-system]\nrequires = []\nbuild-backend = 'a b'\n", BadBuildSystem),
        ("[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['..']\n", BadBuildSystem),
        ("[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = [\"a\\u0000\"]\n", BadBuildSystem),
        ("[build-system]\nrequires = ['-r /etc/passwd']\n", BadBuildSystem),
        ('[build-system]\nrequires = ["a\\n-i https://index.example/"]\n', BadBuildSystem),
        ("[build-system]\nrequires = ['a @ file:///srv/a-1.0-py3-none-any.whl']\n", BadBuildSystem),
        ("[build-system]\nrequires = []\nbuild-backend = 'nowhere'\n", BuildFailed),
        ("[build-system]\nrequires = []\nbuild-backend = 'json'\n", BuildFailed),
    ],
)
def test_a_pyproject_toml_that_cannot_be_used(tmp_path: Path, text: str, kind: type[OfOneSource]) -> None:
    failure(write_project(tmp_path / "demo", pyproject__toml=text), kind)


def test_a_folder_that_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "x.txt").write_text("")
    failure(tmp_path / "demo", NotAProject)


@pytest.mark.parametrize("below", ["nowhere", "../demo", "/etc"])
def test_a_subdirectory_that_is_not_there(tmp_path: Path, below: str) -> None:
    folder = write_project(tmp_path / "demo")
    recipe = of_folder(folder)
    with pytest.raises(NotAProject):
        built(recipe._replace(source=recipe.source.__class__(**{**vars(recipe.source), "subdirectory": below})))


def test_a_folder_that_changes_meanwhile(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "demo")
    recipe = of_folder(folder)
    (folder / "demo.py").write_text("X = 2\n")
    with pytest.raises(SourceChanged):
        built(recipe)


def test_an_old_source_is_built_with_what_it_was_written_for(tmp_path: Path, make_index: Callable[..., Index]) -> None:
    versions = {"81.0": "HAS = True\n", "82.0": "HAS = False\n"}
    releases = [Release("setuptools", version, files={"tools.py": text}) for version, text in versions.items()]
    during = "import tools\nif not tools.HAS: raise ImportError(\"No module named 'pkg_resources'\")\n"
    text = PROJECT["pyproject.toml"].replace("[]", '["setuptools"]')
    folder = write_project(tmp_path / "demo", during, pyproject__toml=text)
    wheel = built(of_folder(folder, default_index_url=make_index(*releases).url))
    assert wheel.requires == ("setuptools==81.0",)


def test_build_requirements_that_no_index_has(tmp_path: Path, make_index: Callable[..., Index]) -> None:
    text = PROJECT["pyproject.toml"].replace("[]", '["no-such-backend"]')
    index = make_index()
    error = failure(
        write_project(tmp_path / "demo", pyproject__toml=text), NoBuildRequirements, default_index_url=index.url
    )
    assert any("no-such-backend" in line for line in error.details)


def test_no_secret_of_an_index_is_shown(
    tmp_path: Path, make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "tk-s3cr3t")
    text = PROJECT["pyproject.toml"].replace("[]", '["no-such-backend"]')
    url = make_index().url.replace("://", "://me:pa55w0rd@").replace("/simple", "/${TOKEN}/simple")
    folder = write_project(tmp_path / "demo", pyproject__toml=text)
    error = failure(folder, NoBuildRequirements, default_index_url=url, exclude_newer="2022-01-01T00:00:00Z")
    assert not re.search("tk-s3cr3t|pa55w0rd", error.render())
    assert any("2022-01-01" in line for line in error.details)


def test_build_requirements_are_locked_and_locked_ones_are_kept(tmp_path: Path, index: Index) -> None:
    text = PROJECT["pyproject.toml"].replace("[]", '["alpha<2"]')
    backend = PROJECT["backend.py"] + "\ndef get_requires_for_build_wheel(*_):\n    return ['lam']\n"
    folder = write_project(tmp_path / "demo", "import alpha, lam", pyproject__toml=text, backend__py=backend)
    recipe = of_folder(folder, default_index_url=index.url)
    assert built(recipe).requires == ("alpha==1.1", "lam==1.0")
    older = recipe._replace(exclude_newer="2020-01-01T00:00:00Z")
    with pytest.raises(NoBuildRequirements):
        built(older)
    assert built(recipe._replace(requires=("alpha==1.0", "lam==1.0"))).requires == ("alpha==1.0", "lam==1.0")


def test_without_an_index_build_requirements_come_from_the_pages_of_links(
    tmp_path: Path, make_index: Callable[..., Index]
) -> None:
    text = PROJECT["pyproject.toml"].replace("[]", '["alpha<2"]')
    folder = write_project(tmp_path / "demo", "import alpha", pyproject__toml=text)
    page = make_index(Release("alpha", "1.7"), html_only=True, credentials=("me", "pw"))
    links = (f"{page.url_with('me', 'pw')}alpha/",)
    recipe = of_folder(folder, find_links_urls=links, no_index=True, default_index_url="http://127.0.0.1:1/")
    assert built(recipe).requires == ("alpha==1.7",)
    with pytest.raises(NoBuildRequirements):
        built(of_folder(folder, no_index=True))


def test_two_builds_at_a_time_make_one(tmp_path: Path) -> None:
    counter = tmp_path / "count"
    counter.mkdir()
    during = "import os, time; time.sleep(0.5); os.write(os.open('/dev/null', os.O_WRONLY), b'x'); print(os.getpid())"
    recipe = of_folder(write_project(tmp_path / "demo", during))
    place = folder_in_home("builds", "wheels") / "one"
    inodes = []
    threads = [threading.Thread(target=lambda: inodes.append(build(recipe, place).path.stat().st_ino)) for _ in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inodes) == 2
    assert len(set(inodes)) == 1


SLEEPS = "import time; open('begun', 'w').write(str(os.getpid())); os.rename('begun', 'begun.pid'); time.sleep(60)"


def begun() -> int:
    """The process of a build that sleeps, once it does."""
    for _ in range(1200):
        for path in left_behind():
            if (path / "source" / "begun.pid").exists():
                return int((path / "source" / "begun.pid").read_text())
        time.sleep(0.05)
    raise AssertionError("no build began")


def is_gone(process: int) -> bool:
    """Whether a process ends within seconds; one that nobody waits for may stay as a zombie."""
    for _ in range(400):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
            os.kill(process, 0)
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux ends processes with their parent")
def test_a_kill_in_the_middle_leaves_nothing_that_counts(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "demo", SLEEPS)
    place = folder_in_home("builds", "wheels") / "killed"
    recipe = of_folder(folder)
    child = os.fork()
    if not child:
        try:
            build(recipe, place)
        finally:
            os._exit(1)
    process = begun()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert is_gone(process)
    assert built_in(place) is None
    assert not place.exists()
    (folder / "during.py").unlink()
    assert build(of_folder(folder), place).name == "demo"
    assert not left_behind()


def test_builds_can_be_ended(tmp_path: Path) -> None:
    recipe = of_folder(write_project(tmp_path / "demo", SLEEPS))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(built, recipe)
        process = begun()
        end_builds()
        with pytest.raises(BuildFailed):
            running.result(timeout=30)
    assert is_gone(process)
    assert not left_behind()


def test_what_a_build_leaves_running_ends_with_it(tmp_path: Path) -> None:
    during = "import subprocess; open('demo.py', 'w').write(f'X = {subprocess.Popen([\"sleep\", \"60\"]).pid}')"
    wheel = built(of_folder(write_project(tmp_path / "demo", during)))
    with zipfile.ZipFile(wheel.path) as archive:
        assert is_gone(int(archive.read("demo.py").partition(b"=")[2]))


def may_leave_network() -> bool:
    code = "from envlock.build.in_environment import _leaves_network; import sys; sys.exit(not _leaves_network())"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not may_leave_network(), reason="this kernel lets no process leave the network")
def test_a_program_that_a_build_starts_has_no_network(tmp_path: Path) -> None:
    code = "import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = [str(PYTHON), "-I", "-S", "-c", code.format(port=server.getsockname()[1])]  # knows no audit hook
        during = f"import subprocess; subprocess.run({other!r}, check=True)"
        failure(write_project(tmp_path / "demo", during), OfOneSource)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_same_recipe_is_built_at_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_project(tmp_path / "demo", "open('demo.py', 'w').write(os.getcwd())")
    first = built(of_folder(folder))
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "another"))
    assert built(of_folder(folder)).sha256 == first.sha256


def test_a_truncated_wheel_is_built_again(tmp_path: Path) -> None:
    recipe = of_folder(write_project(tmp_path / "demo"))
    first = built(recipe)
    first.path.write_bytes(first.path.read_bytes()[:-1])
    assert built_in(first.path.parent) is None
    assert built(recipe).sha256 == first.sha256


ELF = """
import shutil
TAG = "cp{series}-cp{series}-linux_x86_64"
shutil.copy({binary!r}, "demo.so")
os.chmod("demo.so", 0o644)
"""


@pytest.mark.skipif(not Path("/bin/ls").read_bytes().startswith(b"\x7fELF"), reason="no binaries of Linux here")
def test_a_wheel_with_binaries_says_which_glibc_they_need(tmp_path: Path) -> None:
    during = ELF.format(series=sysconfig.get_config_var("py_version_nodot"), binary=os.path.realpath("/bin/ls"))
    backend = PROJECT["backend.py"].replace('[("demo.py", "demo.py")]', '[("demo.so", "demo.so")]')
    wheel = built(of_folder(write_project(tmp_path / "demo", during, backend__py=backend)))
    assert not wheel.is_pure
    assert wheel.tags == (f"cp{sysconfig.get_config_var('py_version_nodot')}-" * 2 + "linux_x86_64",)
    major, minor = (int(part) for part in wheel.glibc.split("."))
    here = os.confstr("CS_GNU_LIBC_VERSION") or "glibc 99.99"
    assert (2, 2) <= (major, minor) <= tuple(int(part) for part in here.split()[1].split(".")[:2])


def test_the_pkg_info_of_an_sdist_is_compared_before_anything_is_run(tmp_path: Path) -> None:
    files = {f"demo-1.0/{name}": text for name, text in PROJECT.items()}
    info = {"demo-1.0/PKG-INFO": "Metadata-Version: 2.1\nName: demo\nVersion: 2.0\n"}
    archive = tar_gz(tmp_path / "demo-1.0.tar.gz", {**files, **info, "demo-1.0/during.py": "1/0"})
    with pytest.raises(BuildOfAnother) as raised:
        built(of_archive(archive, name="demo", version="1.0"))
    assert "PKG-INFO" in raised.value.message
