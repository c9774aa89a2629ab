"""What envlock reads of the locks of uv, poetry, pdm and pip: by markers and tags, as its own resolver chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from envlock.errors import EnvlockError
from envlock.interchange.imported import Choice, Imported, read
from envlock.interchange.universal import Wheel, best_wheel
from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64, Arch
from envlock.model.lock import LockedPython, Source
from envlock.model.python_range import python_allows
from envlock.model.requirements import Requirements
from envlock.resolve.platform_tags import target_of
from tests.index import Index
from tests.interchange.sources import exported, write_uv_project

Write = Callable[[str], Path]
Rows = set[tuple[str, str, str]]


def choice(series: str = "3.11", **chosen: object) -> Choice:
    """A choice of the first release of a series from the machine."""

    def pythons(allowed: str, archs: Sequence[Arch]) -> Mapping[Arch, LockedPython]:
        assert python_allows(allowed, f"{series}.0")
        return dict.fromkeys(archs, LockedPython("machine", f"{series}.0"))

    return Choice(pythons, python=f"=={series}.*", **chosen)  # type: ignore[arg-type]


def rows(found: Imported, arch: Arch = LINUX_64) -> Rows:
    """Names, versions and the platform tags of files."""
    return {
        (each.name, each.version, each.filename.rpartition("-")[2].removesuffix(".whl")) for each in found.locks[arch]
    }


def names(found: Imported, arch: Arch = LINUX_64) -> set[str]:
    return {each.name for each in found.locks[arch]}


def code_of(path: Path, **chosen: object) -> str:
    with pytest.raises(EnvlockError) as caught:
        read(path, choice(**chosen))  # type: ignore[arg-type]
    return caught.value.code


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def one(text: str) -> Path:
        path = tmp_path / "x.lock"
        path.write_text(text)
        return path

    return one


def test_a_uv_lock_gives_each_arch_what_its_markers_and_tags_choose(uv_lock: Path) -> None:
    found = read(uv_lock, choice())
    assert set(found.locks) == set(ARCHS)
    pure = {("alpha", "1.1", "any"), ("eta", "1.0", "any"), ("zeta", "1.0", "any")}
    assert rows(found, LINUX_64) == {*pure, ("beta", "2.0", "manylinux_2_17_x86_64.manylinux2014_x86_64")}
    aarch64 = {*pure, ("beta", "2.0", "manylinux_2_28_aarch64"), ("lam", "1.0", "any")}
    assert rows(found, LINUX_AARCH64) == aarch64
    assert rows(found, OSX_64) == {*pure, ("beta", "2.0", "macosx_13_0_x86_64")}
    assert rows(found, OSX_ARM64) == {*pure, ("beta", "2.0", "macosx_11_0_arm64"), ("lam", "1.0", "any")}
    beta = next(each for each in found.locks[LINUX_64] if each.name == "beta")
    assert "-cp311-" in beta.filename
    assert (beta.url.rpartition("/")[2], len(beta.sha256), beta.upload_time) == (
        beta.filename,
        64,
        "2023-04-01T00:00:00Z",
    )


def test_who_needs_whom_is_that_of_the_arch(uv_lock: Path) -> None:
    found = read(uv_lock, choice())
    needs = {arch: {each.name: each.dependencies for each in found.locks[arch]} for arch in (LINUX_64, OSX_ARM64)}
    assert needs[LINUX_64]["eta"] == ("alpha", "zeta")
    assert needs[OSX_ARM64]["eta"] == ("beta", "lam", "zeta")


def test_the_requirements_are_those_of_the_project(uv_lock: Path) -> None:
    found = read(uv_lock, choice())
    assert found.states_requirements
    assert [str(each) for each in found.roots] == ["alpha<2", "eta", "zeta[fast]>=1 ; sys_platform == 'linux'"]
    assert found.notes == ("without extra `gpu`, group `dev`, group `train`: `--extra` and `--group` take them",)


def test_extras_and_groups_are_read_where_they_are_asked_for(uv_lock: Path) -> None:
    found = read(uv_lock, choice(extras=("gpu",), groups=("dev", "train")))
    assert {"rho", "sigma", "iota"} <= names(found)
    assert [str(each) for each in found.roots if each.name in {"beta", "iota", "rho"}] == [
        "beta>=1.5 ; python_full_version < '3.13'",
        "rho",
        "iota",
    ]
    assert found.notes == ()
    assert code_of(uv_lock, extras=("gqu",)) == "unknown-import-choice"
    assert code_of(uv_lock, groups=("gqu",)) == "unknown-import-choice"


@pytest.mark.parametrize(("series", "version"), [("3.11", "1.0"), ("3.12", "2.0")])
def test_of_a_package_in_two_versions_the_one_for_the_python_is_read(uv_lock: Path, series: str, version: str) -> None:
    found = read(uv_lock, choice(series, groups=("train",)))
    assert {each.version for each in found.locks[LINUX_64] if each.name == "iota"} == {version}


def test_a_package_without_a_wheel_for_an_arch_leaves_that_arch_out(index: Index, tmp_path: Path) -> None:
    project = '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["gamma"]\n'
    path = write_uv_project(tmp_path / "p", index.url, project=project)
    found = read(path, choice())
    assert set(found.locks) == {LINUX_64, LINUX_AARCH64}
    assert any("osx-64" in note and "gamma 1.0" in note for note in found.notes)
    assert code_of(path, archs=(OSX_64,)) == "import-lacks-arch"


def test_a_package_of_an_sdist_has_its_source_and_no_file(index: Index, tmp_path: Path) -> None:
    project = '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["delta>=1.5"]\n'
    path = write_uv_project(
        tmp_path / "p",
        index.url,
        project=project,
        settings='[[tool.uv.dependency-metadata]]\nname = "delta"\nversion = "1.5"\nrequires-dist = []\n',
    )
    (delta,) = read(path, choice()).locks[LINUX_64]
    assert (delta.filename, delta.url, delta.sha256, delta.index) == ("", "", "", index.url)
    sdist = index.artifact("delta-1.5.tar.gz")
    assert delta.source == Source(
        "sdist", url=index.file_url(sdist.filename), sha256=sdist.sha256, filename=sdist.filename
    )


def test_a_folder_of_the_project_has_its_path(index: Index, tmp_path: Path) -> None:
    (tmp_path / "p" / "common").mkdir(parents=True)
    (tmp_path / "p" / "common" / "pyproject.toml").write_text('[project]\nname = "common"\nversion = "1"\n')
    path = write_uv_project(
        tmp_path / "p",
        index.url,
        project='[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["common"]\n',
        settings='sources = { common = { path = "common", editable = true } }',
    )
    (common,) = read(path, choice()).locks[LINUX_64]
    assert common.source == Source("folder", path="common")


def test_a_project_that_needs_its_own_extra_is_no_package_of_itself(index: Index, tmp_path: Path) -> None:
    project = (
        '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["p[more]"]\n'
        '[project.optional-dependencies]\nmore = ["alpha<2"]\n'
    )
    assert names(read(write_uv_project(tmp_path / "p", index.url, project=project), choice())) == {"alpha"}


def test_an_extra_or_a_group_that_names_an_extra_of_its_project_requires_what_that_requires(
    index: Index, tmp_path: Path
) -> None:
    project = (
        '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["eta"]\n'
        "[project.optional-dependencies]\nmore = [\"alpha<2; sys_platform != 'win32'\"]\n"
        'most = ["p[more]; python_version >= \'3.9\'", "p[most]"]\n'
        '[dependency-groups]\ntrain = ["p[more]"]\n'
    )
    path = write_uv_project(tmp_path / "p", index.url, project=project)
    most, train = read(path, choice(extras=("most",))), read(path, choice(groups=("train",)))
    assert {"alpha", "eta"} <= names(most) == names(train)
    assert {str(each) for each in train.roots} == {"eta", "alpha<2 ; sys_platform != 'win32'"}
    assert most.notes == ("without group `train`: `--extra` and `--group` take them",)
    assert "`more`" not in train.notes[0]
    assert {str(each).replace("(", "").replace(")", "") for each in most.roots} == {
        "eta",
        "alpha<2 ; python_full_version >= '3.9' and sys_platform != 'win32'",
    }


def test_a_lock_for_some_environments_is_read_for_these_archs(index: Index, tmp_path: Path) -> None:
    path = write_uv_project(
        tmp_path / "p",
        index.url,
        project='[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["alpha"]\n',
    )
    text = path.read_text().replace(
        "\n[[package]]", "supported-markers = [\"sys_platform == 'darwin'\"]\n\n[[package]]", 1
    )
    path.write_text(text)
    assert set(read(path, choice()).locks) == {OSX_64, OSX_ARM64}


def test_a_project_of_a_workspace_is_chosen_by_name(index: Index, tmp_path: Path) -> None:
    for name, needed in (("one", "alpha"), ("two", "eta")):
        (tmp_path / "w" / name).mkdir(parents=True)
        (tmp_path / "w" / name / "pyproject.toml").write_text(
            f'[project]\nname = "{name}"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["{needed}"]\n'
            "[tool.uv]\npackage = false\n"
        )
    path = write_uv_project(tmp_path / "w", index.url, project='[tool.uv.workspace]\nmembers = ["one", "two"]\n')
    assert code_of(path) == "import-unclear"
    assert code_of(path, package="three") == "unknown-import-choice"
    assert "eta" not in names(read(path, choice(package="one")))
    assert "eta" in names(read(path, choice(package="two")))


def test_extras_that_exclude_each_other_are_read_one_at_a_time(index: Index, tmp_path: Path) -> None:
    project = (
        '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\n'
        '[project.optional-dependencies]\nold = ["alpha==1.0"]\nnew = ["alpha==2.0"]\n'
    )
    conflicts = 'conflicts = [[{ extra = "old" }, { extra = "new" }]]'
    path = write_uv_project(tmp_path / "p", index.url, project=project, settings=conflicts)
    for extra, version in (("old", "1.0"), ("new", "2.0")):
        found = read(path, choice(extras=(extra,)))
        assert {each.version for each in found.locks[LINUX_64] if each.name == "alpha"} == {version}


def test_a_pylock_of_uv_gives_the_same_files(uv_lock: Path, tmp_path: Path) -> None:
    chosen = choice(extras=("gpu",), groups=("train",))
    expected = read(uv_lock, chosen)
    found = read(exported(uv_lock, "pylock.toml", "--extra", "gpu", "--group", "train", "--no-dev"), choice())
    for arch in ARCHS:
        assert [(each.name, each.filename, each.url, each.sha256, each.size) for each in found.locks[arch]] == [
            (each.name, each.filename, each.url, each.sha256, each.size) for each in expected.locks[arch]
        ]


def test_a_requirements_txt_with_hashes_gives_versions_and_allowed_hashes(uv_lock: Path) -> None:
    expected = read(uv_lock, choice())
    found = read(exported(uv_lock, "requirements.txt", "--no-dev"), choice())
    for arch in ARCHS:
        assert [(each.name, each.version) for each in found.locks[arch]] == [
            (each.name, each.version) for each in expected.locks[arch]
        ]
        for each in expected.locks[arch]:
            assert each.sha256 in found.hashes[each.name, each.version]


POETRY = """
[[package]]
name = "alpha"
version = "1.1"
optional = false
python-versions = "*"
groups = ["main", "dev"]
files = [{file = "alpha-1.1-py3-none-any.whl", hash = "sha256:%(hash)s"}]

[[package]]
name = "beta"
version = "2.0"
optional = true
python-versions = "*"
groups = ["main", "dev"]
markers = {main = "extra == \\"gpu\\" and python_version < \\"3.12\\"", dev = "sys_platform == \\"darwin\\""}
files = [
    {file = "beta-2.0-cp311-cp311-manylinux_2_17_x86_64.whl", hash = "sha256:%(hash)s"},
    {file = "beta-2.0-cp311-cp311-macosx_11_0_arm64.whl", hash = "sha256:%(hash)s"},
    {file = "beta-2.0.tar.gz", hash = "sha256:%(hash)s"},
]

[package.dependencies]
alpha = {version = ">=1", markers = "sys_platform == \\"linux\\""}

[extras]
gpu = ["beta"]

[metadata]
lock-version = "2.1"
python-versions = "^3.10"
content-hash = "%(hash)s"
""" % {"hash": "ab" * 32}  # noqa: UP031  it has braces


def test_a_poetry_lock_has_the_files_of_its_groups_and_extras(write: Write) -> None:
    path = write(POETRY)
    assert names(read(path, choice())) == {"alpha"}
    found = read(path, choice(extras=("gpu",), archs=(LINUX_64,)))
    assert rows(found) == {("alpha", "1.1", "any"), ("beta", "2.0", "manylinux_2_17_x86_64")}
    assert {each.name: each.dependencies for each in found.locks[LINUX_64]}["beta"] == ("alpha",)
    assert {each.url for each in found.locks[LINUX_64]} == {""}
    assert {each.sha256 for each in found.locks[LINUX_64]} == {"ab" * 32}
    with_dev = read(path, choice(groups=("dev",), archs=(LINUX_64, OSX_ARM64)))
    assert (names(with_dev), names(with_dev, OSX_ARM64)) == ({"alpha"}, {"alpha", "beta"})
    assert code_of(path, extras=("gpus",)) == "unknown-import-choice"


def test_an_older_poetry_lock_is_read_without_groups(write: Write) -> None:
    text = POETRY.replace('groups = ["main", "dev"]\n', "").replace('"2.1"', '"2.0"')
    path = write("\n".join(line for line in text.splitlines() if not line.startswith("markers")))
    assert names(read(path, choice())) == {"alpha"}
    assert names(read(path, choice(extras=("gpu",), archs=(LINUX_64,)))) == {"alpha", "beta"}
    assert any("groups" in note for note in read(path, choice()).notes)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [("^3.10", "<4.0,>=3.10"), ("~3.11", "<3.12,>=3.11"), ("~3.9 || ^3.11", "!=3.10.*,<4.0,>=3.9"), ("*", "")],
)
def test_the_pythons_of_a_poetry_lock_are_those_that_poetry_means(write: Write, written: str, read_as: str) -> None:
    asked: list[str] = []
    one = choice()

    def pythons(allowed: str, archs: Sequence[Arch]) -> Mapping[Arch, LockedPython]:
        asked.append(allowed)
        return one.pythons(allowed, archs)

    read(write(POETRY.replace("^3.10", written)), one._replace(pythons=pythons))
    assert asked == [read_as]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"^3.10"', '"new"'),
        ('"^3.10"', "3.10"),
        ('gpu = ["beta"]', 'gpu = [""]'),
        ('name = "alpha"', "name = 1"),
        ("files = [{file", "files = [{path"),
    ],
)
def test_a_poetry_lock_with_a_malformed_part_is_broken(write: Write, right: str, wrong: str) -> None:
    text = POETRY.replace('groups = ["main", "dev"]\n', "").replace('"2.1"', '"2.0"').replace(right, wrong, 1)
    path = write("\n".join(line for line in text.splitlines() if not line.startswith("markers")))
    assert code_of(path, extras=("gpu",)) == "broken-import"


PDM = """
[metadata]
groups = ["default", "train"]
strategy = ["inherit_metadata"]
lock_version = "4.5.1"
content_hash = "sha256:ab"

[[metadata.targets]]
requires_python = ">=3.10"

[[package]]
name = "Alpha"
version = "1.1"
groups = ["default"]
dependencies = ["beta[x]>=1; sys_platform == 'linux'"]
files = [{file = "alpha-1.1-py3-none-any.whl", hash = "sha256:%(hash)s"}]

[[package]]
name = "beta"
version = "2.0"
groups = ["default"]
marker = "sys_platform == 'linux'"
files = [{url = "https://files.example/beta-2.0-py3-none-any.whl", hash = "sha256:%(hash)s"}]

[[package]]
name = "beta"
version = "2.0"
extras = ["x"]
groups = ["default"]
marker = "sys_platform == 'linux'"
dependencies = ["beta==2.0"]

[[package]]
name = "iota"
version = "1.0"
groups = ["train"]
files = [{file = "iota-1.0-py3-none-any.whl", hash = "sha256:%(hash)s"}]
""" % {"hash": "cd" * 32}  # noqa: UP031


def test_a_pdm_lock_has_the_files_of_its_groups(write: Write) -> None:
    path = write(PDM)
    found = read(path, choice())
    assert (names(found), names(found, OSX_64)) == ({"alpha", "beta"}, {"alpha"})
    assert [(each.name, each.url, each.dependencies) for each in found.locks[LINUX_64]] == [
        ("alpha", "", ("beta",)),
        ("beta", "https://files.example/beta-2.0-py3-none-any.whl", ()),
    ]
    assert "iota" in names(read(path, choice(groups=("train",))))
    assert code_of(path, groups=("trian",)) == "unknown-import-choice"


def test_a_pdm_lock_for_one_platform_is_read_for_its_arch(write: Write) -> None:
    text = PDM.replace('requires_python = ">=3.10"', 'requires_python = ">=3.10"\nplatform = "manylinux_2_28_aarch64"')
    assert set(read(write(text), choice()).locks) == {LINUX_AARCH64}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('version = 2\nrequires-python = ">=3.10"\n[[package]]\n', "unknown-lock-version"),
        ('version = 1\nrequires-python = ">=3.10"\n[[package]]\nname = 1\n', "broken-import"),
        ('version = 1\nrequires-python = ">=3.10"\n[[package]\n', "unknown-lock-format"),
        ('version = 1\nrequires-python = ">=3.10"\n[[package]]\nname = \n', "broken-import"),
        ('lock-version = "2.0"\ncreated-by = "x"\npackages = []\n', "unknown-lock-version"),
        ('lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "A_b"\n', "broken-import"),
        (POETRY.replace('"2.1"', '"1.1"'), "unknown-lock-version"),
        (POETRY.replace('files = [{file = "alpha', 'files = [{fire = "alpha'), "broken-import"),
        (PDM.replace('"4.5.1"', '"5.0"'), "unknown-lock-version"),
        (PDM.replace('version = "1.1"\n', ""), "broken-import"),
        ("alpha==1.0 --hash=sha256:" + "a" * 64 + "\n-r other.txt\n", "broken-import"),
        ("alpha>=1.0 --hash=sha256:" + "a" * 64 + "\n", "broken-import"),
        ("alpha==1.0 --hash=sha256:" + "a" * 64 + "\nbeta==1.0\n", "broken-import"),
        ("alpha==1.0 --hash=md5:" + "a" * 32 + "\n", "broken-import"),
        ("alpha @ git+https://code.example/x --hash=sha256:" + "a" * 64 + "\n", "import-needs-build"),
        ("alpha==1.0\n", "unknown-lock-format"),
        ("<<<<<<< HEAD\n" + PDM, "conflict-markers-in-import"),
    ],
)
def test_what_cannot_be_imported_has_an_error_of_its_own(write: Write, text: str, code: str) -> None:
    assert code_of(write(text)) == code


def test_the_best_wheel_is_the_one_that_tags_name_first() -> None:
    target = target_of(Requirements(), LINUX_64, "3.11.0")
    wheels = [
        Wheel(f"x-1-{tag}.whl")
        for tag in (
            "py3-none-any",
            "cp311-abi3-manylinux_2_17_x86_64",
            "cp311-cp311-manylinux_2_17_x86_64",
            "cp311-cp311-manylinux_2_28_x86_64",
            "cp311-cp311-manylinux_2_34_x86_64",
            "cp312-cp312-manylinux_2_28_x86_64",
        )
    ]
    assert best_wheel(wheels, target) == wheels[3]
    assert best_wheel(wheels[4:], target) is None


def test_a_floor_that_the_wheels_need_is_raised_and_told(write: Write) -> None:
    text = PDM.replace("alpha-1.1-py3-none-any.whl", "alpha-1.1-cp311-cp311-manylinux_2_34_x86_64.whl")
    found = read(write(text), choice())
    assert set(found.locks) == {LINUX_64}
    assert (LINUX_64, "__glibc", "2.34") in found.system
    assert any("__glibc 2.34" in note for note in found.notes)


def test_a_choice_that_has_no_meaning_for_the_format_is_refused(uv_lock: Path) -> None:
    assert code_of(uv_lock, environment="x") == "unknown-import-choice"
    requirements = exported(uv_lock, "requirements.txt", "--no-dev")
    assert code_of(requirements, extras=("gpu",)) == code_of(requirements, groups=("dev",)) == "unknown-import-choice"


def test_credentials_of_an_index_are_left_out(uv_lock: Path, write: Write) -> None:
    secret = write(uv_lock.read_text().replace("http://127.", "http://me:s3cret@127."))
    found = read(secret, choice())
    assert "s3cret" not in repr(found)
    assert {each.url for each in found.locks[LINUX_64]} == {
        each.url for each in read(uv_lock, choice()).locks[LINUX_64]
    }
