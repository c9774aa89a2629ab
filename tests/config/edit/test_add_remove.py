"""Packages put into envlock.toml and taken out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement

from envlock.config.edit.add_remove import (
    add_packages,
    channel_name,
    choose_level,
    conda_entry,
    remove_packages,
)
from envlock.config.edit.errors import CannotWrite, NotListed, UnclearTarget
from envlock.config.edit.save import load_text, save
from envlock.config.errors import NoSuchSelection
from envlock.config.pypi_entries import requirement_of
from envlock.config.read import load_project
from envlock.config.selection import options_of
from envlock.errors import ConfigError, EnvlockError
from envlock.model.conda_requirement import conda_requirement, parse_conda_requirement
from envlock.model.requirement import BadPackageName, BadVersionSpecifier, parse_requirement

TRAIN = ("flow", "Train")
FIT = ("flow", "Train", "step", "fit")
FLOW_FILE = """
from metaflow import FlowSpec, step
class Train(FlowSpec):
    @step
    def start(self): self.next(self.fit)
    @step
    def fit(self): self.next(self.end)
    @step
    def end(self): pass
class Score(FlowSpec):
    @step
    def start(self): self.next(self.judge)
    @step
    def judge(self): self.next(self.end)
    @step
    def end(self): pass
"""
# Three tables, and each has its packages in another style.
TEXT = """\
# our flows
[flow.Train]            # the class
file = "flow.py"
pypi  = { python = "3.12", packages = { pandas = '2.2.3' } }  # all steps

[flow.Train.step.fit.pypi.packages]
# for the model
Scikit_Learn = ">=1.5"   # tested with 1.5
"requests[socks]" = ""

[env.base]
pypi.packages.rich = "15"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(FLOW_FILE)
    (tmp_path / "envlock.toml").write_text(TEXT)
    return tmp_path


def added(level: tuple[str, ...], *requirements: str, text: str = TEXT, conda: bool = False) -> str:
    """What adding changes: the lines of the text that were not there before."""
    edited, _ = add_packages(text, level, requirements, conda=conda)
    old = text.splitlines()
    return "\n".join(line for line in edited.splitlines() if line not in old)


@pytest.mark.parametrize(
    ("level", "requirement", "line"),
    [
        (
            TRAIN,
            "rich",
            """pypi  = { python = "3.12", packages = { pandas = '2.2.3', rich = "" } }  # all steps""",
        ),
        (
            TRAIN,
            "pandas >=2, <3",
            """pypi  = { python = "3.12", packages = { pandas = ">=2,<3" } }  # all steps""",
        ),
        (FIT, "pandas~=2.2", 'pandas = "~=2.2"'),
        (FIT, "scikit-learn==1.6.1", 'Scikit_Learn = "==1.6.1"   # tested with 1.5'),
        (FIT, "requests[use-chardet,socks]>=2", '"requests[socks,use-chardet]" = ">=2"'),
        (FIT, "Requests", 'requests = ""'),
        (FIT, "tomli>=2; python_version < '3.11'", "tomli = \">=2 ; python_version < '3.11'\""),
        (FIT, 'tomli ; sys_platform=="linux"', 'tomli = "; sys_platform==\\"linux\\""'),
        (FIT, "demo @ https://index.example/d.whl", '"demo@https://index.example/d.whl" = ""'),
        (("env", "base"), "zope.interface (>=6)", 'pypi.packages."zope.interface" = ">=6"'),
        (("env", "base"), "rich>=15,!=15.1.*", 'pypi.packages.rich = ">=15,!=15.1.*"'),
        (
            ("flow", "Train", "step", "end"),
            "rich",
            '[flow.Train.step.end]\npypi = { packages = { rich = "" } }',
        ),
    ],
)  # fmt: skip
def test_add_writes_in_the_style_of_the_table(level: tuple[str, ...], requirement: str, line: str) -> None:
    assert added(level, requirement) == line


def test_add_conda() -> None:
    text, changes = add_packages(TEXT, FIT, ["conda-forge::ffmpeg=6.1", "cuda-version>=12,<13", "gcc"], conda=True)
    assert tomli.loads(text)["flow"]["Train"]["step"]["fit"]["conda"]["libraries"] == {
        "conda-forge::ffmpeg": "=6.1",
        "cuda-version": ">=12,<13",
        "gcc": "",
    }
    assert [str(change) for change in changes] == [
        '+ "conda-forge::ffmpeg" = "=6.1"',
        '+ cuda-version = ">=12,<13"',
        '+ gcc = ""',
    ]
    _, changes = add_packages(text, FIT, ["ffmpeg=7"], conda=True)
    assert [str(change) for change in changes] == ['~ "conda-forge::ffmpeg" = "=6.1" -> "=7"']


@pytest.mark.parametrize(
    ("text", "channel", "key", "value"),
    [
        ("numpy >= 1.26, < 2", "", "numpy", ">=1.26,<2"),
        ("numpy 1.26.4", "", "numpy", "1.26.4"),
        ("numpy=1.26=py312_0", "", "numpy", "=1.26=py312_0"),
        ("numpy 1.26 py312*", "", "numpy", "1.26 py312*"),
        ("blas=*=openblas", "", "blas", "=*=openblas"),
        ("samtools", "bioconda", "bioconda::samtools", ""),
        ("https://conda.example/team::demo>1", "", "https://conda.example/team::demo", ">1"),
        ("_libgcc_mutex", "", "_libgcc_mutex", ""),
    ],
)
def test_a_conda_package_in_one_line(text: str, channel: str, key: str, value: str) -> None:
    assert conda_entry(text, channel) == (key, value)
    name = f"{channel}::{text}" if channel else text
    assert str(conda_requirement(key, value)) == str(parse_conda_requirement(name))


CHANNELS = """\
[envlock]
channels = ["conda-forge"]   # ours
[flow.Train]
file = "flow.py"
[flow.Train.conda]
channels = [
    "one",   # first
    "two",
]
[flow.Train.step.fit]
conda = { libraries = { numpy = "" } }
[env.base]
conda.libraries.numpy = ""
[env.empty.conda]
channels = []  # none
"""


def test_a_channel_that_is_listed_already_is_named_without_its_secret() -> None:
    text = CHANNELS.replace('"two"', '"https://me:pw@conda.example/t/token/team"')
    found = channel_name(text, ("flow", "Train", "step", "fit"), "https://you:pw@conda.example/team/")
    assert found == "https://conda.example/team"
    assert channel_name(text, ("env", "base"), "https://you:pw@conda.example/team/").startswith("https://you:pw@")


def test_what_is_no_channel_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not a conda channel"):
        channel_name(CHANNELS, FIT, "./here")


def test_add_says_from_what_to_what() -> None:
    _, changes = add_packages(TEXT, FIT, ["scikit-learn", "requests[socks]", "requests", "rich"])
    assert [str(change) for change in changes] == [
        '~ Scikit_Learn = ">=1.5" -> ""',
        '~ "requests[socks]" = "" -> requests = ""',
        '+ rich = ""',
    ]


def test_what_is_required_already_changes_nothing() -> None:
    assert add_packages(TEXT, FIT, ["scikit.learn >= 1.5"]) == (TEXT, ())


@pytest.mark.parametrize(
    ("requirement", "error"),
    [
        ("pan das", BadVersionSpecifier),
        ("-pandas", BadPackageName),
        ("", BadPackageName),
        ("pandas=2", BadVersionSpecifier),
        ("pandas>=2,<", BadVersionSpecifier),
        ("pandas 2.2", BadVersionSpecifier),
        ("pandas>=not a version", BadVersionSpecifier),
        ("pandas>=2..1", BadVersionSpecifier),
        ("pandas; python_versoin < '3'", ConfigError),
        ("pandas; ", ConfigError),
        ("pandas@2.2", BadVersionSpecifier),
        ("pandas[", ConfigError),
        ("pandas[a b]", ConfigError),
        ("./pandas.whl", BadPackageName),
        ("https://index.example/pandas.whl", BadPackageName),
    ],
)
def test_what_is_no_requirement_is_refused_before_anything_is_done(requirement: str, error: type[ConfigError]) -> None:
    with pytest.raises(error):
        add_packages(TEXT, TRAIN, ["rich", requirement])


@pytest.mark.parametrize(
    "requirement", ["", "=1.0", "two words", "a::b::", "numpy 1 2 3", "./a::numpy", "numpy>=1 ; x"]
)
def test_what_is_no_conda_package_is_refused(requirement: str) -> None:
    with pytest.raises(ConfigError):
        add_packages(TEXT, TRAIN, [requirement], conda=True)


NAME = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)
SPECIFIER = st.sampled_from(["", ">=2", "== 2.2.3", ">=2, <3", "~=1.4", "!=1.0.*", " ( >=1 ) ", ">= 1.0rc1,<2"])
MARKER = st.sampled_from(["", "; python_version < '3.11'", ' ;sys_platform == "linux" and extra=="x"'])


@given(NAME, st.lists(NAME, max_size=2), SPECIFIER, MARKER, st.sampled_from([TRAIN, FIT, ("env", "base")]))
def test_what_is_added_means_what_was_given_and_can_be_removed_without_a_trace(
    name: str, extras: list[str], specifier: str, marker: str, level: tuple[str, ...]
) -> None:
    asked = f"{name}{'[' + ', '.join(extras) + ']' if extras else ''}{specifier}{marker}"
    wanted = Requirement(asked)

    text, changes = add_packages(TEXT, level, [asked])

    (change,) = changes
    assert change.after is not None
    made = Requirement(str(requirement_of(*change.after)))
    assert (made.specifier, str(made.marker)) == (wanted.specifier, str(wanted.marker))
    assert requirement_of(*change.after) == parse_requirement(asked)
    if change.before is None:
        assert remove_packages(text, level, [name])[0] == TEXT


@given(st.text(alphabet="ab1[],<>=!~;@ .'\"*-_\n/:(", max_size=14))
def test_no_text_is_added_that_packaging_would_refuse(asked: str) -> None:
    try:
        text, (change,) = add_packages("[env.base]\n", ("env", "base"), [asked])
    except ConfigError:
        return
    try:
        Requirement(asked)
    except InvalidRequirement as error:
        raise AssertionError(f"{asked!r} was written as {change}") from error
    assert requirement_of(*change.after) == parse_requirement(asked)  # type: ignore[misc]
    assert "[env.base]" in text


def test_remove_takes_the_line_and_leaves_the_comments() -> None:
    text, (change,) = remove_packages(TEXT, FIT, ["scikit-learn"])
    assert str(change) == '- Scikit_Learn = ">=1.5"'
    assert text == TEXT.replace('Scikit_Learn = ">=1.5"   # tested with 1.5\n', "")


def test_removing_the_last_package_takes_the_empty_tables_too() -> None:
    text, changes = remove_packages(TEXT, TRAIN, ["pandas"])
    assert text == TEXT.replace("""{ python = "3.12", packages = { pandas = '2.2.3' } }""", '{ python = "3.12" }')
    text, changes = remove_packages(TEXT, ("env", "base"), ["rich"])
    assert text == TEXT.replace('pypi.packages.rich = "15"\n', "")
    text, changes = remove_packages(TEXT, FIT, ["requests", "scikit_learn"])
    assert "# for the model" in text, "a comment keeps its section"
    assert len(changes) == 2


def test_removing_what_stands_elsewhere_says_where() -> None:
    with pytest.raises(NotListed) as raised:
        remove_packages(TEXT, TRAIN, ["Scikit-learn"])
    assert raised.value.render() == (
        "error[not-listed]: `Scikit-learn` is not listed in `[flow.Train]`, but here:\n"
        "  at envlock.toml:8 (flow.Train.step.fit.pypi.packages.Scikit_Learn)\n"
        "\n"
        "hint: envlock remove Scikit-learn --flow Train --step fit"
    )


def test_removing_what_stands_nowhere_names_the_nearest() -> None:
    with pytest.raises(NotListed) as raised:
        remove_packages(TEXT, TRAIN, ["panda"])
    assert raised.value.hint == "did you mean `pandas`?"
    with pytest.raises(NotListed) as raised:
        remove_packages(TEXT, ("env", "base"), ["xyz"])
    assert raised.value.hint is None


def test_removing_from_pypi_what_is_required_of_conda_says_so() -> None:
    text, _ = add_packages(TEXT, TRAIN, ["conda-forge::ffmpeg"], conda=True)
    with pytest.raises(NotListed) as raised:
        remove_packages(text, TRAIN, ["ffmpeg"])
    assert raised.value.hint == "envlock remove ffmpeg --flow Train --conda"
    assert raised.value.message == "`ffmpeg` is not listed as a PyPI package in `[flow.Train]`, but here:"
    with pytest.raises(NotListed) as raised:
        remove_packages(text, TRAIN, ["pandas"], conda=True)
    assert raised.value.hint == "envlock remove pandas --flow Train"
    assert raised.value.message == "`pandas` is not listed as a conda package in `[flow.Train]`, but here:"
    assert "conda" not in tomli.loads(remove_packages(text, TRAIN, ["ffmpeg"], conda=True)[0])["flow"]["Train"]


LONGER = """\
[env.a.pypi.packages]
torch = [
  "2.3 ; sys_platform == 'linux'", # linux
  { version = "2.2",  marker = "sys_platform == 'darwin'", index = "x" }, # mac
]
rich = { version = "1",   index = 'y' } # c
more.version = "2"
more.index = "x"
"Req" = "1"
"Req[socks]" = ">=1"

[env.a.pypi.packages.uvicorn]
# the server
extras = ["standard"]
"""


@pytest.mark.parametrize(
    ("requirement", "index", "old", "new"),
    [
        ("rich>=2", "", '"1",   index', '">=2",   index'),
        ("rich", "z", "version = \"1\",   index = 'y'", 'index = "z"'),
        (
            "torch==2.4 ; sys_platform=='linux'",
            "",
            "\"2.3 ; sys_platform == 'linux'\"",
            "\"==2.4 ; sys_platform=='linux'\"",
        ),
        ("torch==2.4 ; sys_platform=='darwin'", "", '"2.2",', '"==2.4",'),
        ("torch>=2", "", "# mac\n", '# mac\n  ">=2",\n'),
        ("more>=3", "", 'more.version = "2"', 'more.version = ">=3"'),
        ("more[all]", "", 'more.version = "2"\nmore.index', '"more[all]".index'),
        ("Req[socks]>=2", "", '">=1"', '">=2"'),
        ("Req[all]>=2", "", '">=1"\n', '">=1"\n"Req[all]" = ">=2"\n'),
        ("uvicorn>=1", "", '["standard"]\n', '["standard"]\nversion = ">=1"\n'),
    ],
)
def test_a_list_or_a_table_is_changed_where_it_has_to_be(requirement: str, index: str, old: str, new: str) -> None:
    text, _ = add_packages(LONGER, ("env", "a"), [requirement], index=index)
    assert text == LONGER.replace(old, new, 1)


@pytest.mark.parametrize("package", ["torch", "rich", "more", "req", "uvicorn"])
def test_a_package_is_removed_however_it_is_written(package: str) -> None:
    text, changes = remove_packages(LONGER, ("env", "a"), [package])
    left = tomli.loads(text)["env"]["a"]["pypi"]["packages"]
    assert {name.partition("[")[0].lower() for name in left} == {"torch", "rich", "more", "req", "uvicorn"} - {package}
    assert len(changes) == (2 if package == "req" else 1)


TABLES_OF_ITS_OWN = """\
[[env.a.pypi.packages.torch]]
version = "2.3"
marker = "sys_platform == 'linux'"

[[env.a.pypi.packages.torch]]
version = "2.2"
marker = "sys_platform == 'darwin'"

[env.b]
"""


@pytest.mark.parametrize(
    ("requirement", "edited"),
    [
        ("torch==2.4 ; sys_platform == 'linux'", TABLES_OF_ITS_OWN.replace('"2.3"', '"==2.4"')),
        (
            "torch>=2",
            TABLES_OF_ITS_OWN.replace("\n[env.b]", '\n[[env.a.pypi.packages.torch]]\nversion = ">=2"\n\n[env.b]'),
        ),
        (
            "torch[x]==2.4 ; sys_platform == 'linux'",
            TABLES_OF_ITS_OWN.replace('"2.3"', '"==2.4"').replace("packages.torch", 'packages."torch[x]"'),
        ),
    ],
)
def test_an_array_of_tables_is_edited_too(requirement: str, edited: str) -> None:
    assert add_packages(TABLES_OF_ITS_OWN, ("env", "a"), [requirement])[0] == edited
    removed, _ = remove_packages(TABLES_OF_ITS_OWN, ("env", "a"), ["torch"])
    assert tomli.loads(removed) == {"env": {"b": {}}}


def test_a_new_package_of_an_index_is_a_table() -> None:
    text, (change,) = add_packages("[env.a]\n", ("env", "a"), ["torch>=2 ; sys_platform == 'linux'"], index="cu121")
    wanted = {"version": ">=2", "marker": "sys_platform == 'linux'", "index": "cu121"}
    assert tomli.loads(text)["env"]["a"]["pypi"]["packages"] == {"torch": wanted}
    assert str(change).startswith("+ torch = { version")


@pytest.mark.parametrize("name", ["pandas>=2", "-x", ""])
def test_only_names_are_removed(name: str) -> None:
    with pytest.raises(BadPackageName):
        remove_packages(TEXT, TRAIN, [name])


TWO_FLOWS = TEXT + '\n[flow.Score]\nfile = "flow.py"\n'


@pytest.mark.parametrize(
    ("text", "options", "level"),
    [
        (TEXT, {}, TRAIN),
        (TEXT, {"flow": "Train"}, TRAIN),
        (TEXT, {"step": "fit"}, FIT),
        (TEXT, {"step": "Train/fit"}, FIT),
        (TEXT, {"flow": "Train", "step": "end"}, ("flow", "Train", "step", "end")),
        (TEXT, {"env": "base"}, ("env", "base")),
        (TWO_FLOWS, {"flow": "Score"}, ("flow", "Score")),
        (TWO_FLOWS, {"step": "judge"}, ("flow", "Score", "step", "judge")),
        ('[env.only]\npypi.packages.rich = ""\n', {}, ("env", "only")),
    ],
)
def test_the_level_that_options_mean(folder: Path, text: str, options: dict[str, str], level: tuple[str, ...]) -> None:
    assert choose_level(load_text(folder / "envlock.toml", text), **options) == level


@pytest.mark.parametrize(
    ("text", "options", "choices"),
    [
        (TWO_FLOWS, {}, "choices: `--flow Train`, `--flow Score`, `--env base`"),
        (TWO_FLOWS, {"step": "start"}, "choices: `--flow Train --step start`, `--flow Score --step start`"),
        ("[envlock]\n", {}, None),
    ],
)
def test_an_unclear_level_lists_the_choices(
    folder: Path, text: str, options: dict[str, str], choices: str | None
) -> None:
    with pytest.raises(UnclearTarget) as raised:
        choose_level(load_text(folder / "envlock.toml", text), **options)
    assert raised.value.details == ((choices,) if choices else ())


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"flow": "Trian"}, "did you mean `Train`?"),
        ({"step": "fitt"}, "did you mean `fit`?"),
        ({"flow": "Train", "step": "ends"}, "did you mean `end`?"),
        ({"env": "bas"}, "did you mean `base`?"),
    ],
)
def test_an_unknown_level_names_the_nearest(folder: Path, options: dict[str, str], hint: str) -> None:
    with pytest.raises(NoSuchSelection) as raised:
        choose_level(load_text(folder / "envlock.toml", TEXT), **options)
    assert raised.value.hint == hint


@pytest.mark.parametrize("level", [TRAIN, FIT, ("env", "base"), ("flow", "Train", "step", "end")])
def test_the_options_of_a_level_choose_it(folder: Path, level: tuple[str, ...]) -> None:
    words = options_of(level).split()
    options = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}
    assert choose_level(load_text(folder / "envlock.toml", TEXT), **options) == level


def test_only_what_loads_is_written(folder: Path) -> None:
    path = folder / "envlock.toml"
    path.write_text('[flow.Train]\nfile = "flow.py"\n[flow.Train.step.end]\ndisabled = true\n')
    before = path.read_bytes()
    text, _ = add_packages(before.decode(), ("flow", "Train", "step", "end"), ["rich"])
    with pytest.raises(EnvlockError) as raised:
        save(path, text)
    assert raised.value.code == "disabled-with-requirements"
    assert "envlock.toml:4" in raised.value.render()
    assert path.read_bytes() == before
    assert sorted(each.name for each in folder.iterdir()) == ["envlock.toml", "flow.py"]


def test_what_loads_is_written_whole(folder: Path) -> None:
    path = folder / "envlock.toml"
    text, _ = add_packages(TEXT.replace("\n", "\r\n"), FIT, ["rich"])
    project = save(path, text)
    assert path.read_bytes().decode() == text
    assert project == load_project(path)
    assert sorted(each.name for each in folder.iterdir()) == ["envlock.toml", "flow.py"]


def test_a_text_is_tried_without_a_file(tmp_path: Path) -> None:
    assert load_text(tmp_path / "gone" / "envlock.toml", "[env.base]\n").path == tmp_path / "gone" / "envlock.toml"
    with pytest.raises(EnvlockError) as raised:
        load_text(tmp_path / "envlock.toml", "[env.base]\ndisabled = true\n[envlock]\nnope = 1\n")
    assert "envlock.toml:4" in raised.value.render()
    assert not list(tmp_path.iterdir())


def test_a_link_stays_a_link(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    real = tmp_path_factory.mktemp("real") / "settings.toml"
    path = folder / "envlock.toml"
    path.rename(real)
    path.symlink_to(real)
    save(path, add_packages(TEXT, FIT, ["rich"])[0])
    assert path.is_symlink()
    assert 'rich = ""' in real.read_text()


def test_a_folder_that_takes_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite) as raised:
        save(tmp_path / "gone" / "envlock.toml", "[envlock]\n")
    assert "No such file or directory" in raised.value.message
