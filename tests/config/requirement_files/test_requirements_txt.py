"""Requirements files, and the gate that they share with whatever else asks for packages."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pip._internal.network.session import PipSession
from pip._internal.req.req_file import parse_requirements

from envlock.config.edit.add_remove import add_packages
from envlock.config.errors import UnsafeFile
from envlock.config.project import Environment
from envlock.config.read import load_project
from envlock.config.validate import explain
from envlock.errors import ConfigError, EnvlockError, Location, ManyErrors
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import requirements_from
from envlock.source_tree import content_hash

CONFIG = '[env.base]\nrequirements = "r.txt"\n'
AT = Location("envlock.toml", 2, "env.base.requirements")
SECRET = "s3cr3t-t0ken"
FLOW = """
from metaflow import FlowSpec, step
class Train(FlowSpec):
    @step
    def start(self):
        self.next(self.end)
    @step
    def end(self):
        pass
"""


def refused(folder: Path, text: str | bytes) -> ConfigError:
    """What is said of a project whose requirements file, r.txt, has this text."""
    (folder / "envlock.toml").write_text(CONFIG)
    (folder / "r.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        load_project(folder / "envlock.toml")
    return caught.value


def whole(error: EnvlockError) -> str:
    return error.render() + repr(error.as_dict())


# One gate, whichever door.


def _of_config(folder: Path, requirement: str) -> None:
    name, _, url = requirement.partition(" @ ")
    (folder / "envlock.toml").write_text(f"[env.base.pypi.packages]\n'{name}@{url}' = ''\n")
    load_project(folder / "envlock.toml")


def _of_file(folder: Path, requirement: str) -> None:
    raise refused(folder, f"# ours\n{requirement}\n")


def _of_add(folder: Path, requirement: str) -> None:
    add_packages("[env.base]\npypi = {}\n", ("env", "base"), [requirement])


def _of_lock(folder: Path, requirement: str) -> None:
    parse_requirement(requirement)


DOORS: list[Callable[[Path, str], None]] = [_of_config, _of_file, _of_add, _of_lock]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("url", "code"),
    [
        (f"https://user:{SECRET}@files.example/acme_core-1.0-py3-none-any.whl", "credentials-in-direct-url"),
        (f"https://{SECRET}@files.example/acme_core-1.0-py3-none-any.whl", "credentials-in-direct-url"),
        ("https://${USER}:${TOKEN}@files.example/acme_core-1.0-py3-none-any.whl", "credentials-in-direct-url"),
        (f"https://files.example/acme_core-1.0-py3-none-any.whl?sig={SECRET}", "credentials-in-direct-url"),
        (f"https://files.example/acme_core-1.0-py3-none-any.whl#token={SECRET}", "credentials-in-direct-url"),
        (f"git+https://user:{SECRET}@code.example/acme/core", "credentials-in-direct-url"),
        (f"git+https://{SECRET}@code.example/acme/core@main", "credentials-in-direct-url"),
        (f"git+ssh://git:{SECRET}@code.example/acme/core", "credentials-in-direct-url"),
        (f"git+https://code.example/acme/core@main#token={SECRET}", "credentials-in-direct-url"),
        (f"git+https://code.example/acme/core?token={SECRET}", "credentials-in-direct-url"),
        ("git+https://code.example/acme/core@--upload-pack=x", "direct-url-not-web"),
        ("git+https://code.example/acme/core#subdirectory=../x", "direct-url-not-web"),
        ("git+file:///srv/acme/core", "direct-url-not-web"),
        ("git+https://code.example", "direct-url-not-web"),
        ("folder+sha256:ab", "direct-url-not-web"),
        (f"file+sha256:{'ab' * 32}", "direct-url-not-web"),
        (f"file+sha256:{'ab' * 32}/../x.whl", "direct-url-not-web"),
        ("file:///srv/acme_core-1.0-py3-none-any.whl", "direct-url-not-web"),
        ("../acme_core-1.0-py3-none-any.whl", "direct-url-not-web"),
        ("ftp://${HOST}/acme_core-1.0-py3-none-any.whl", "direct-url-not-web"),
        ("https://files.example:port/acme_core-1.0-py3-none-any.whl", "direct-url-not-web"),
        ("https:///acme_core-1.0-py3-none-any.whl", "direct-url-not-web"),
    ],
)
def test_a_direct_url_that_no_lock_may_hold_is_refused_wherever_it_is_written(
    door: Callable[[Path, str], None], url: str, code: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        door(tmp_path, f"acme-core @ {url}")
    is_path = door is _of_file and url.startswith(("../", "file:"))
    assert caught.value.code == ("bad-source" if is_path else code)
    assert SECRET not in whole(caught.value)


def test_python_is_no_package_of_a_table_or_a_constraint(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("python>=3.9\n")
    for text, place in (("-c c.txt\n", "c.txt"), ("python[x]>=3.9\n", "r.txt"), ("python>=3 ; os_name=='nt'", "r.txt")):
        error = refused(tmp_path, text)
        assert (error.code, error.locations[0]) == ("python-is-no-package", Location(place, 1))
    with pytest.raises(ConfigError) as caught:
        explain("[env.base.pypi.packages]\nPython = '>=3.9'\n", tmp_path / "envlock.toml")
    assert caught.value.code == "python-is-no-package"
    assert caught.value.locations[0].line == 2
    assert 'pypi.python = ">=3.9"' in (caught.value.hint or "")


# Options.


@pytest.mark.parametrize(
    "value",
    [
        "../wheels",
        "nonsense",
        "file:///srv/index",
        "ftp://${HOST}/simple",
        "https://",
        "https://$HOST/simple",
    ],
)
def test_an_index_that_is_none_is_refused_with_its_line(value: str, tmp_path: Path) -> None:
    for separator in (" ", "="):
        error = refused(tmp_path, f"rich\n--extra-index-url{separator}{value}\n")
        assert (error.code, error.locations) == ("bad-index-url", (Location("r.txt", 2), AT))
    config = f'[envlock]\nextra-indices = ["{value}"]\n'
    (tmp_path / "envlock.toml").write_text(config)
    with pytest.raises(ConfigError) as caught:
        load_project(tmp_path / "envlock.toml")
    assert caught.value.code == "bad-index-url"


def read(folder: Path, text: str, **files: str) -> Environment:
    """The environment of a project whose requirements file has this text, beside files named `NAME.txt`."""
    (folder / "envlock.toml").write_text(CONFIG)
    (folder / "r.txt").write_text(text)
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content)
    (environment,) = load_project(folder / "envlock.toml").environments()
    return environment


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--extra-index-url", "has no value"),
        ("--pre yes", "follows an option"),
        ("-e ./x ; os_name == 'posix'", "follows an option"),
        ("--pre=1", "takes no value"),
        ("-", "not an option"),
        ("--pr", "not an option"),
        ("--upgrade", "not an option"),
        ("--re x.txt", "not an option"),
        ("rich --pre", "has no effect behind a requirement"),
        ("--pre rich", "follows an option"),
        ("-r a.txt -r b.txt", "only a part of a line"),
        ("-r a.txt --pre", "only a part of a line"),
        ("-f https://one.example -f https://two.example", "only a part of a line"),
        ("-e ./one -e ./two", "only a part of a line"),
        ("--hash=sha256:00", "belongs behind its requirement"),
        ("-i 'https://index.example", "quotation mark"),
        ("rich==13 --hash=md5:00", "not a hash"),
        ("rich==13 --hash=sha256:00", "not a hash"),
        (f"rich==13 --hash=sha512:{'0' * 128}", "SHA-256"),
        ("--trusted-host index.example", "certificate"),
        ("rich --config-settings a=b", "settings of its project"),
        ("rich --global-option=x", "settings of its project"),
        ("--no-binary rich,a/b", "takes names of packages"),
        ("--no-binary :all: --only-binary rich", "no meaning beside"),
        ("--only-final -x", "has no value"),
        ("-r https://files.example/base.txt", "change at any time"),
        ("-r ${BASE}.txt", "another machine"),
        ("rich==${VERSION}", "another machine"),
        ("--find-links wheels", "cannot be read"),
        ("-f ../..", "outside the project"),
        ("-f .", "no wheels"),
        ("-f file:///srv/wheels", "is absolute"),
        ("git+https://code.example/team/tool", "name of the package is missing"),
        ("https://files.example/main.zip", "name of the package is missing"),
        ("rich\t--hash=sha256:00", ""),
        ("--conda-pkg", "has no value"),
        ("--conda-pkgs ffmpeg", "not an option"),
    ],
)
def test_what_means_nothing_for_a_lock_is_refused_with_the_reason_and_what_to_write(
    line: str, reason: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, f"rich\n{line}\n")
    assert (error.code, error.locations) == ("bad-requirements-file", (Location("r.txt", 2), AT))
    assert reason in error.message
    assert error.hint


def test_every_line_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "envlock.toml").write_text(CONFIG)
    (tmp_path / "base.txt").write_text("attrs==\n")
    (tmp_path / "r.txt").write_text("--trusted-host x\n-r base.txt\nrich\n-f wheels\n")
    with pytest.raises(ManyErrors) as caught:
        load_project(tmp_path / "envlock.toml")
    places = [(error.locations[0].path, error.locations[0].line) for error in caught.value.errors]
    assert places == [("r.txt", 1), ("base.txt", 1), ("r.txt", 4)]


@pytest.mark.parametrize(
    "line",
    ["--index-url={0}", "-i {0}", "-i{0}", "--pypi-url {0}", "--index {0}", "-i '{0}'", "--index-\\\nurl \\\n {0} # x"],
)
def test_an_option_is_read_however_pip_lets_one_write_it(line: str, tmp_path: Path) -> None:
    found = read(tmp_path, line.format("https://me:pw@index.example/simple") + "\nrich")
    assert found.requirements.default_index == "https://index.example/simple"
    assert found.default_index_url == "https://me:pw@index.example/simple"


def test_every_option_that_a_lock_knows_is_in_its_requirements(tmp_path: Path) -> None:
    one, two = "ab" * 32, "CD" * 32
    found = read(
        tmp_path,
        "--extra-index-url https://${USER}:${TOKEN}@extra.example/simple --pre --extra-index-url https://more.example\n"
        "-f https://links.example/wheels.html\n"
        "--only-binary :all:\n--no-binary :none:\n--prefer-binary\n--no-require-hashes\n"
        f"rich[jupyter] >=13, \\\n  <15 ; sys_platform == 'linux' --hash=sha256:{one} \\\n  --hash sha256:{two}\n"
        "-c limits.txt\npython==3.12\n",
        limits="attrs<24  # for now\n",
    ).requirements
    assert [str(each) for each in found.pypi] == ["rich[jupyter]<15,>=13 ; sys_platform == 'linux'"]
    assert [str(each) for each in found.constraints] == ["attrs<24"]
    assert found.hashes == (("rich", one), ("rich", two.lower()))
    assert (found.indexes, found.find_links) == (
        ("https://extra.example/simple", "https://more.example"),
        ("https://links.example/wheels.html",),
    )
    assert (found.pip_flags, found.python) == (("pre",), "==3.12.*")


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("--no-binary Lxml,attrs", ["no-binary=attrs", "no-binary=lxml"]),
        ("--no-binary :all:", ["no-binary=:all:"]),
        ("--no-binary lxml\n--only-binary=LXML", []),
        ("--no-binary lxml\n--only-binary :all:\n--only-binary :none:", []),
        ("--no-binary=lxml,:none:,attrs", ["no-binary=attrs"]),
        ("--all-releases rich --only-final attrs,rich", ["only-final=attrs", "only-final=rich"]),
        ("--all-releases=:all:", ["pre"]),
        ("--only-final :all:\n--all-releases rich", ["all-releases=rich", "only-final=:all:"]),
    ],
)
def test_what_pip_takes_of_single_packages_are_flags(text: str, flags: list[str], tmp_path: Path) -> None:
    found = read(tmp_path, f"-r more.txt\n{text}", more="rich")
    assert list(found.requirements.pip_flags) == flags


def test_a_feature_of_pip_is_noted_with_its_line(tmp_path: Path) -> None:
    ((text, place),) = read(tmp_path, "rich\n--use-feature=fast-deps\n").notes
    assert ("fast-deps" in text, place.line) == (True, 2)  # type: ignore[union-attr]


def test_the_options_of_metaflows_extension_ask_for_conda_packages(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "--conda-channel https://${USER}:${TOKEN}@conda.example/team\n"
        "--conda-pkg ffmpeg >=6\n--conda-pkg=team::blas=2.1\n--sys-pkg __cuda==12.4\nrich\n",
    ).requirements
    assert [str(each) for each in found.conda_only] == ["ffmpeg >=6", "team::blas =2.1"]
    assert found.channels == ("https://conda.example/team", "conda-forge")
    assert ("linux-64", "__cuda", "12.4") in found.system
    assert [str(each) for each in found.pypi] == ["rich"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--conda-pkg ffmpeg >=6 <7 x", "bad-conda-requirement"),
        ("--conda-channel ./channel", "bad-channel"),
        ("--sys-pkg __cuda", "bad-value"),
        ("--sys-pkg __cuba==12", "bad-value"),
    ],
)
def test_what_conda_does_not_know_is_an_error_of_its_line(line: str, code: str, tmp_path: Path) -> None:
    error = refused(tmp_path, f"rich\n{line}\n")
    assert (error.code, error.locations[0].path, error.locations[0].line) == (code, "r.txt", 2)


def test_no_index_leaves_out_the_indexes_of_the_project(tmp_path: Path) -> None:
    found = read(tmp_path, "--no-index\n-f https://links.example/\n-i https://index.example/simple\nrich\n")
    assert (found.requirements.pip_flags, found.requirements.default_index) == (("no-index",), "")
    assert found.every_index_url == ("https://links.example/",)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("https://files.example/rich-13.0-py3-none-any.whl", "rich @ https://files.example/rich-13.0-py3-none-any.whl"),
        (
            "https://files.example/a_b-1.0.tar.gz ; sys_platform == 'linux'",
            "a-b @ https://files.example/a_b-1.0.tar.gz ; sys_platform == 'linux'",
        ),
        ("https://files.example/main.zip#egg=tool", "tool @ https://files.example/main.zip"),
        (
            "git+https://code.example/team/mono@v1#egg=tool&subdirectory=libs/tool",
            "tool @ git+https://code.example/team/mono@v1#subdirectory=libs/tool",
        ),
        ("-e git+https://code.example/team/tool@v1#egg=tool[x]", "tool[x] @ git+https://code.example/team/tool@v1"),
        ("Tool[x] @ git+https://code.example/team/tool", "tool[x] @ git+https://code.example/team/tool"),
    ],
)
def test_a_url_may_have_the_name_of_its_package_in_it(line: str, text: str, tmp_path: Path) -> None:
    assert [str(each) for each in read(tmp_path, f"{line}\n").requirements.pypi] == [text]


# Sources of this machine.

PROJECTS = {
    "pyproject.toml": '[project]\nname = "Acme.Core"\nversion = "1"\n',
    "poetry/pyproject.toml": '[tool.poetry]\nname = "Acme.Core"\nversion = "1"\n',
    "cfg/setup.cfg": "[options]\nname = no\n[metadata]\nversion = 1\nname = Acme.Core\n",
    "cfg/setup.py": "import setuptools\nsetuptools.setup()\n",
    "py/setup.py": "from setuptools import setup\nsetup(version='1', name='Acme.Core')\n",
}


@pytest.mark.parametrize(
    "line",
    [
        "-e ./{0}",
        "./{0}",
        "{0}/",
        "-e '{0}/.[x] ; os_name==\"posix\"'",
        "file:{0}/",
        "acme-core @ ./{0}",
        "./{0}#egg=acme-core",
    ],
)
@pytest.mark.parametrize("at", ["", "poetry", "cfg", "py"])
def test_a_folder_is_required_by_its_content_and_named_by_its_project_files(line: str, at: str, tmp_path: Path) -> None:
    """Its path is from the file that has it, and in no id."""
    for file, text in PROJECTS.items():
        place = tmp_path / "libs" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (tmp_path / "deep").mkdir()
    folder = f"../libs/{at}".rstrip("/")
    found = read(tmp_path, "-r deep/base.txt\n", **{"deep/base": line.format(folder) + "\n"})
    (requirement,) = found.requirements.pypi
    expected = f"folder+sha256:{content_hash(tmp_path / 'libs' / at)}"
    assert (requirement.name, requirement.url) == ("acme-core", expected)
    assert requirement.extras == (("x",) if "[x]" in line else ())
    assert found.local == ((expected, f"libs/{at}".rstrip("/")),)
    assert [note for note, _ in found.notes if "-e" in note] == ([found.notes[0][0]] if "-e" in line else [])


def test_the_folder_of_envlock_toml_itself_is_one(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECTS["pyproject.toml"])
    found = read(tmp_path, "-e .[x]\n")
    assert found.local == ((f"folder+sha256:{content_hash(tmp_path)}", "."),)
    assert found.requirements.pypi[0].extras == ("x",)
    (tmp_path / "pyproject.toml").write_text("[build-system]\n")
    assert refused(tmp_path, ".\n").code == "bad-requirements-file"


def test_a_wheel_and_an_sdist_are_required_by_their_hash(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    for name in ("acme_core-1.0-py3-none-any.whl", "acme_more-1.0.tar.gz"):
        (tmp_path / "dist" / name).write_bytes(b"x")
    found = read(tmp_path, "dist/acme_core-1.0-py3-none-any.whl\n./dist/acme_more-1.0.tar.gz[x]\n")
    sha256 = hashlib.sha256(b"x").hexdigest()
    assert [str(each) for each in found.requirements.pypi] == [
        f"acme-core @ file+sha256:{sha256}/acme_core-1.0-py3-none-any.whl",
        f"acme-more[x] @ file+sha256:{sha256}/acme_more-1.0.tar.gz",
    ]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("./gone", "bad-source"),
        ("/srv/libs", "bad-source"),
        ("file:///srv/libs", "bad-source"),
        ("../outside", "bad-source"),
        ("./empty", "bad-requirements-file"),
        ("-e ./empty#egg=acme", "bad-source"),
        ("./nameless", "bad-requirements-file"),
        ("git+file:///srv/repository#egg=acme", "direct-url-not-web"),
    ],
)
def test_what_no_wheel_can_be_built_from_is_refused_with_its_line(line: str, code: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for folder in (project / "empty", project / "nameless", tmp_path / "outside"):
        folder.mkdir(parents=True)
    for folder in (project / "nameless", tmp_path / "outside"):
        (folder / "pyproject.toml").write_text("[build-system]\nrequires = []\n")
    error = refused(project, f"rich\n{line}\n")
    assert (error.code, error.locations) == (code, (Location("r.txt", 2), AT))


@pytest.mark.parametrize(
    "line",
    [
        "./" + "a" * 300,
        "-e ./" + "a/" * 3000,
        "rich" + " " * 100_000 + "x # why",
        "x" + " [" * 50_000,
        "./x" + "[" * 50_000 + "]x",
        "rich " + "--hash=sha256:0 " * 20_000,
        "-r " + "a" * 300,
        "./" + "\x01" * 3,
    ],
    ids=lambda line: line[:12],
)
def test_a_line_that_no_person_writes_is_refused_at_once(line: str, tmp_path: Path) -> None:
    begun = time.monotonic()
    error = refused(tmp_path, f"{line}\n")
    assert (error.code, error.locations[0]) in [
        (code, Location("r.txt", 1)) for code in ("bad-requirements-file", "bad-source")
    ]
    assert time.monotonic() - begun < 5


def test_a_setup_file_that_nobody_can_read_tells_no_name(tmp_path: Path) -> None:
    (tmp_path / "libs").mkdir()
    for text in ("setup(" * 2000, "x = " + "a." * 5000 + "setup()", "def ("):
        (tmp_path / "libs" / "setup.py").write_text(text)
        assert refused(tmp_path, "./libs\n").code == "bad-requirements-file"


# Included files.


def test_an_included_file_is_found_from_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "base.txt").write_text("-r ../more.txt\n-c limits.txt\nattrs\n")
    (tmp_path / "deep" / "limits.txt").write_text("rich<15\n-r also.txt\n")
    (tmp_path / "deep" / "also.txt").write_text("click\n")
    found = read(tmp_path, "-r deep/base.txt\nrich\n-r more.txt\n", more="markdown\n")
    # What a constraint file requires by `-r` is required, as pip has it.
    assert [each.name for each in found.requirements.pypi] == ["attrs", "click", "markdown", "rich"]
    project = load_project(tmp_path / "envlock.toml")
    places = [project.locate(found.origin(name) or ()) for name in ("markdown", "attrs", "constraint:rich")]
    assert [(at.path, at.line) for at in places] == [("more.txt", 1), ("deep/base.txt", 3), ("deep/limits.txt", 1)]
    names = {path.relative_to(tmp_path).as_posix() for path in project.files}
    assert names == {"r.txt", "more.txt", "deep/base.txt", "deep/limits.txt", "deep/also.txt"}


def test_a_file_that_includes_itself_is_shown_with_every_line_of_the_way(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("rich\n-c b.txt\n")
    (tmp_path / "b.txt").write_text("-r a.txt\n")
    error = refused(tmp_path, "\n-r a.txt\n")
    assert (error.code, [(at.path, at.line) for at in error.locations]) == (
        "requirement-file-cycle",
        [("a.txt", 2), ("b.txt", 1)],
    )
    assert error.hint == "remove one of these lines"
    error = refused(tmp_path, "-r ./r.txt\n")
    assert ([(at.path, at.line) for at in error.locations], error.hint) == ([("r.txt", 1)], "remove this line")


def test_a_file_that_many_include_is_read_once(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"f{number}.txt").write_text(f"-r f{number + 1}.txt\n-r f{number + 1}.txt\n")
    (tmp_path / "f40.txt").write_text("rich\n")
    assert [each.name for each in read(tmp_path, "-r f0.txt\n").requirements.pypi] == ["rich"]


@pytest.mark.parametrize(
    ("name", "code"),
    [("gone.txt", "bad-requirements-file"), ("../secret", "unsafe-file"), ("deep", "bad-requirements-file")],
)
def test_a_file_that_cannot_be_included_is_an_error_of_the_line(name: str, code: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "deep").mkdir(parents=True)
    (tmp_path / "secret").write_text(SECRET)
    with pytest.raises(EnvlockError) as caught:
        read(project, "rich\n-r base.txt\n", base=f"\n-r {name}\n")
    assert caught.value.code == code
    assert [(at.path, at.line) for at in caught.value.locations] == [("base.txt", 2), ("r.txt", 2), ("envlock.toml", 2)]
    assert SECRET not in whole(caught.value)


# What limits the packages.


def test_constraints_and_requirements_that_contradict_are_shown_with_both_lines(tmp_path: Path) -> None:
    (tmp_path / "limits.txt").write_text("# ours\nrich<13\n")
    error = refused(tmp_path, "rich>=14\n-c limits.txt\n")
    assert error.code == "disagreeing-values"
    assert [(at.path, at.line) for at in error.locations] == [("r.txt", 1), ("limits.txt", 2)]


def test_a_constraint_is_a_name_with_versions(tmp_path: Path) -> None:
    for line in ("rich[x]<13", "-e ./libs"):
        (tmp_path / "limits.txt").write_text(f"{line}\n")
        assert refused(tmp_path, "-c limits.txt\n").code == "bad-requirements-file"


def test_hashes_of_two_files_have_to_have_one_in_common(tmp_path: Path) -> None:
    one, two, three = (letter * 64 for letter in "abc")
    (tmp_path / "more.txt").write_text(f"rich==13 --hash=sha256:{two} --hash=sha256:{three}\n")
    found = read(tmp_path, f"rich==13 --hash=sha256:{one} --hash=sha256:{two}\n-r more.txt\n")
    assert found.requirements.hashes == (("rich", two),)
    error = refused(tmp_path, f"rich==13 --hash=sha256:{one}\n-r more.txt\n")
    assert [(at.path, at.line) for at in error.locations] == [("r.txt", 1), ("more.txt", 1)]
    found = read(
        tmp_path,
        f"rich==13 ; os_name=='nt' --hash=sha256:{one}\nrich==12 ; os_name!='nt' --hash=sha256:{two}\n",
    )
    assert found.requirements.hashes == (("rich", one), ("rich", two))


def test_require_hashes_asks_for_one_of_every_requirement(tmp_path: Path) -> None:
    one = "a" * 64
    assert read(tmp_path, f"--require-hashes\nrich==13 --hash=sha256:{one}\n").requirements.hashes == (("rich", one),)
    error = refused(tmp_path, f"--require-hashes --pre\nrich==13 --hash=sha256:{one}\nattrs==23\n")
    assert (error.code, error.locations[0].line) == ("bad-requirements-file", 3)
    (tmp_path / "base.txt").write_text("-c limits.txt\n\nattrs==23\n")
    (tmp_path / "limits.txt").write_text("click<9\n")
    error = refused(tmp_path, "-r base.txt\n--require-hashes\n")
    assert [(at.path, at.line) for at in error.locations[:2]] == [("base.txt", 3), ("r.txt", 1)]


def test_constraints_alone_make_an_environment_extend_its_base(tmp_path: Path) -> None:
    """Else the base would be used as it is, whatever they say."""
    (tmp_path / "limits.txt").write_text("rich<13\n")
    (tmp_path / "r.txt").write_text("-c limits.txt\n")
    text = CONFIG + 'named_env = { name = "team/base:v1" }\n'
    (tmp_path / "envlock.toml").write_text(text)
    (found,) = load_project(tmp_path / "envlock.toml").environments()
    assert found.base is not None
    assert found.base.extends
    (tmp_path / "envlock.toml").write_text(text.replace(" }", ", fetch_at_exec = true }"))
    with pytest.raises(ConfigError) as caught:
        load_project(tmp_path / "envlock.toml")
    assert caught.value.code == "fetch-at-exec-with-requirements"


def test_two_default_indexes_contradict(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("-i https://two.example/\n")
    error = refused(tmp_path, "-i https://one.example/\n-r more.txt\n")
    assert (error.code, [at.path for at in error.locations]) == ("disagreeing-values", ["r.txt", "more.txt"])


def test_a_step_has_the_limits_of_its_flow_except_for_the_hashes_of_what_it_replaces(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "envlock.toml").write_text(
        '[flow.Train]\nfile = "flow.py"\nrequirements = ["r.txt"]\n[flow.Train.step.end]\nrequirements = "s.txt"\n'
    )
    one, two = "a" * 64, "b" * 64
    (tmp_path / "r.txt").write_text(
        f"-i https://flow.example/\nrich==13 --hash=sha256:{one}\nattrs==23 --hash=sha256:{two}\n-c c.txt\n"
    )
    (tmp_path / "c.txt").write_text("click<9\n")
    (tmp_path / "s.txt").write_text("-i https://step.example/\nrich==12\n-c d.txt\n")
    (tmp_path / "d.txt").write_text("click>=8\n")
    start, end = (each.requirements for each in load_project(tmp_path / "envlock.toml").environments())
    assert (start.default_index, end.default_index) == ("https://flow.example/", "https://step.example/")
    assert [str(each) for each in end.pypi] == ["attrs==23", "rich==12"]
    assert end.hashes == (("attrs", two),)
    assert [str(each) for each in start.constraints] == ["click<9"]
    assert [str(each) for each in end.constraints] == ["click<9", "click>=8"]


# Encodings.


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom", "utf-32", "latin-1"]
)
def test_a_file_is_decoded_as_pip_decodes_it(encoding: str, tmp_path: Path) -> None:
    text = "# -*- coding: latin-1 -*-\nrich # caf\u00e9\n" if encoding == "latin-1" else "rich # caf\u00e9\nattrs\n"
    mark = "\ufeff" if encoding.endswith("-bom") else ""
    data = (mark + text).encode(encoding.removesuffix("-bom"))
    (tmp_path / "r.txt").write_bytes(data)
    session = PipSession()
    by_pip = [each.requirement for each in parse_requirements(str(tmp_path / "r.txt"), session)]
    (tmp_path / "envlock.toml").write_text(CONFIG)
    (environment,) = load_project(tmp_path / "envlock.toml").environments()
    assert [each.name for each in environment.requirements.pypi] == sorted(by_pip)


@pytest.mark.parametrize(
    "data",
    [
        b"rich # caf\xe9\n",
        b"# coding: nothing\nrich\n",
        b"\xff\xfe\xff",
        *(b"# coding: %s\nrich\n" % name for name in (b"rot13", b"hex", b"zip", b"undefined")),
    ],
)
def test_a_file_that_is_no_text_is_an_error_of_the_key(data: bytes, tmp_path: Path) -> None:
    error = refused(tmp_path, data)
    assert (error.code, error.locations) == ("bad-requirements-file", (AT,))


def test_an_index_keeps_its_credentials_out_of_what_is_hashed(tmp_path: Path) -> None:
    (tmp_path / "envlock.toml").write_text(CONFIG)
    (tmp_path / "r.txt").write_text(f"--extra-index-url https://me:{SECRET}@index.example/simple\nrich\t# pretty\n")
    (environment,) = load_project(tmp_path / "envlock.toml").environments()
    assert environment.requirements.indexes == ("https://index.example/simple",)
    assert [str(each) for each in environment.requirements.pypi] == ["rich"]


# Places.


def test_the_origin_of_a_requirement_in_a_file_is_that_line_of_it(tmp_path: Path) -> None:
    (tmp_path / "envlock.toml").write_text(CONFIG)
    (tmp_path / "r.txt").write_text("# ours\nrich\n--extra-index-url https://index.example/simple\n")
    project = load_project(tmp_path / "envlock.toml")
    (environment,) = project.environments()
    for thing, line in (("rich", 2), ("https://index.example/simple", 3)):
        key = environment.origin(thing)
        assert key is not None
        assert project.locate(key) == Location("r.txt", line, "env.base.requirements")


def test_two_lines_that_disagree_are_both_shown(tmp_path: Path) -> None:
    error = refused(tmp_path, "rich==13.0\nattrs\nrich==14.0\n")
    assert [(at.path, at.line) for at in error.locations] == [("r.txt", 1), ("r.txt", 3)]


# What is never repeated.


def test_a_line_of_a_file_that_is_not_of_the_project_is_never_shown(tmp_path: Path) -> None:
    outside = tmp_path / "shadow.txt"
    project = tmp_path / "project"
    project.mkdir()
    lines = [
        f"root:{SECRET}:19000",
        f"--extra-index-url {SECRET}",
        f"--{SECRET}",
        f"rich =={SECRET}",
        f"rich ; {SECRET}",
        f"--trusted-host {SECRET}",
        f"-i {SECRET}",
        f"-f {SECRET}",
        f"-c https://{SECRET}.example/x",
        f"rich --hash=sha256:{SECRET}",
        f"--conda-pkg {SECRET} {SECRET} {SECRET} {SECRET}",
        f"--conda-channel ./{SECRET}",
        f"--sys-pkg {SECRET}=={SECRET}",
        f"git+https://{SECRET}.example/x",
        f"rich[{SECRET}]==${{X}}",
    ]
    for line in lines:
        outside.write_text(f"rich\n{line}\n")
        (project / "envlock.toml").write_text(f'[env.base]\nrequirements = "{outside}"\n')
        with pytest.raises(EnvlockError) as caught:
            load_project(project / "envlock.toml")
        assert not isinstance(caught.value, ManyErrors)
        assert caught.value.locations[0] == Location(str(outside), 2)
        assert SECRET not in whole(caught.value), line
        inside = refused(project, f"rich\n{line}\n")
        assert SECRET in whole(inside), line
        (project / "r.txt").unlink()
        (project / "r.txt").symlink_to(outside)
        with pytest.raises(UnsafeFile) as linked:
            load_project(project / "envlock.toml")
        assert SECRET not in whole(linked.value)
        (project / "r.txt").unlink()


def test_a_credential_in_a_line_of_the_project_is_never_shown(tmp_path: Path) -> None:
    lines = (
        f"acme core @ https://me:{SECRET}@files.example/x.whl",
        f"--trusted-host https://me:{SECRET}@index.example/simple",
        f"-i ftp://me:{SECRET}@index.example/simple",
        f"--extra-index-url ftp://me:{SECRET}@index.example/simple",
        f"https://me:{SECRET}@files.example/x.whl",
    )
    for line in lines:
        assert SECRET not in whole(refused(tmp_path, f"{line}\n")), line


@pytest.mark.parametrize("name", ["token", "token.key", ".netrc"])
def test_a_file_of_a_secret_is_none_of_requirements(name: str, tmp_path: Path) -> None:
    """A token can be read as the name of a package, would be asked of an index and stand in a lock."""
    (tmp_path / name).write_text(SECRET)
    (tmp_path / "requirements.txt").write_text("rich")
    config = tmp_path / "project" / "envlock.toml"
    config.parent.mkdir()
    for path in (f"../{name}", str(tmp_path / name)):
        config.write_text(f'[env.base]\nrequirements = "{path}"\n')
        with pytest.raises(EnvlockError) as caught:
            load_project(config)
        assert (caught.value.code, caught.value.exit_status) == ("unsafe-file", 3)
        assert caught.value.locations[0].line == 2
        assert SECRET not in whole(caught.value)
    config.write_text('[env.base]\nrequirements = "../requirements.txt"\n')
    assert [each.name for each in load_project(config).named[0].requirements.pypi] == ["rich"]


@pytest.mark.parametrize(
    ("key", "name", "other", "text"),
    [
        ("environment-yml", "environment.yml", "secrets.yml", "dependencies: [pip: [rich]]\n"),
        ("environment-yml", "environment-dev.yaml", "environment.txt", "dependencies: [pip: [rich]]\n"),
        ("pyproject", "pyproject.toml", "secrets.toml", '[project]\nname = "p"\ndependencies = ["rich"]\n'),
    ],
)
def test_a_file_outside_the_project_has_the_name_of_its_kind(
    key: str, name: str, other: str, text: str, tmp_path: Path
) -> None:
    config = tmp_path / "project" / "envlock.toml"
    config.parent.mkdir()
    for each in (name, other):
        (tmp_path / each).write_text(text)
    config.write_text(f'[env.base]\n{key} = "../{name}"\n')
    assert [each.name for each in load_project(config).named[0].requirements.pypi] == ["rich"]
    config.write_text(f'[env.base]\n{key} = "../{other}"\n')
    with pytest.raises(EnvlockError) as caught:
        load_project(config)
    assert (caught.value.code, caught.value.locations[0].line) == ("unsafe-file", 2)


def test_no_other_file_that_is_not_of_the_project_is_shown_either(tmp_path: Path) -> None:
    outside = tmp_path / "shadow"
    outside.write_text(f"root:{SECRET}:19000\nx y {SECRET}\n")
    project = tmp_path / "project"
    project.mkdir()
    config = project / "envlock.toml"
    config.write_text(f'[flow.Train]\nfile = "{outside}"\n')
    with pytest.raises(EnvlockError) as caught:
        load_project(config)
    assert (caught.value.code, caught.value.locations[0].line) == ("flow-file-syntax", 1)
    assert SECRET not in whole(caught.value)
    config.unlink()
    config.symlink_to(outside)
    with pytest.raises(EnvlockError) as caught:
        load_project(config)
    assert caught.value.code == "unreadable-config"
    assert SECRET not in whole(caught.value)
    config.unlink()
    (tmp_path / "envlock.toml").write_text(outside.read_text())
    config.symlink_to(tmp_path / "envlock.toml")  # as some build tools lay out a project
    with pytest.raises(EnvlockError) as caught:
        load_project(config)
    assert (caught.value.code, caught.value.locations[0].line) == ("not-toml", 1)
    assert SECRET not in whole(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pypi", [f"demo @ https://me:{SECRET}@files.example/demo-1.0-py3-none-any.whl"]),
        ("indexes", [f"https://me:{SECRET}@index.example/simple"]),
        ("indexes", ["../wheels"]),
        ("default-index", f"https://index.example/simple?token={SECRET}"),
        ("default-index", "ftp://${HOST}/simple"),
        ("channels", [f"https://conda.example/t/{SECRET}/team"]),
        ("channels", ["../channel"]),
    ],
)
def test_the_requirements_in_a_lock_or_a_pin_pass_the_same_gate(key: str, value: str | list[str]) -> None:
    table = {"python-from": "machine", "indexes": ["https://${HOST}/simple"], "channels": ["conda-forge", "${TEAM}"]}
    assert requirements_from(table).channels == ("conda-forge", "${TEAM}")
    with pytest.raises((ValueError, ConfigError)) as caught:
        requirements_from({**table, key: value})
    assert SECRET not in str(caught.value)
