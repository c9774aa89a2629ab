"""Settings come from several files and from variables: which of them counts, and what each of them may say."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envlock import revisions, settings_files
from envlock.config import layers
from envlock.config.layers import variable_of
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.config.schema import PLACE, ProjectTable
from envlock.config.settings import MACHINE, PLACES, PROJECT
from envlock.errors import EnvlockError, Location, ManyErrors
from envlock.places import UnreadableConfig, home
from tests.config.projects import load
from tests.support import as_any_other_user

PLACE_VALUES = {
    "cache": '"s3://user/envlock"',
    "cache-options": '{ endpoint = "https://objects.example:9000", region = "eu-1" }',
    "index-mirrors": '{ "https://index.example/simple" = "https://me:${TOKEN}@mirror.example/simple" }',
    "python-mirror": '"https://me:${TOKEN}@mirror.example/python"',
    "channel-mirrors": '{ conda-forge = "https://mirror.example/conda-forge" }',
    "use-remote-latest": '":any:"',
    "push-on-deploy": "true",
    "image": '"auto"',
    "keep-on-node": '"1 GB"',
    "pack": "true",
}
"""A right value for each place, as TOML."""


@pytest.fixture
def user_file(isolated: Path) -> Path:
    """Where the user's settings file is; nothing is there yet."""
    path = isolated / "config" / "envlock" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def machine_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "etc" / "config.toml"
    path.parent.mkdir()
    monkeypatch.setattr(settings_files, "MACHINE_FILE", str(path))
    return path


def failure(folder: Path, text: str = "") -> EnvlockError:
    with pytest.raises(EnvlockError) as caught:
        load(folder, text)
    return caught.value


def place_of(error: EnvlockError) -> tuple[str, int | None, str | None]:
    return tuple(error.locations[0])


def origins(project: Project) -> dict[str, str]:
    """Where each setting was written that is not a default."""
    return {key: str(project.place_of(("envlock", key))) for key in project.settings.written}


def test_the_later_layer_wins(
    tmp_path: Path, user_file: Path, machine_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cache(text: str = "[envlock]\n") -> tuple[str, str]:
        project = load(tmp_path, text)
        return project.settings.cache, origins(project).get("cache", "")

    team = '[envlock]\nextends = "team.toml"\n'
    assert cache() == ("envlock-cache", "")
    machine_file.write_text('[envlock]\ncache = "s3://machine/envlock"\n')
    assert cache() == ("s3://machine/envlock", f"{machine_file}:2")
    user_file.write_text('\n[envlock]\ncache = "s3://user/envlock"\n')
    assert cache() == ("s3://user/envlock", f"{user_file}:3")
    (tmp_path / "ci.toml").write_text('[envlock]\ncache = "s3://ci/envlock"\n')
    monkeypatch.setenv("ENVLOCK_CONFIG", str(tmp_path / "ci.toml"))
    assert cache() == ("s3://ci/envlock", f"{tmp_path / 'ci.toml'}:2")
    (tmp_path / "team.toml").write_text('[envlock]\n\ncache = "s3://team/envlock"\n')
    assert cache(team) == ("s3://team/envlock", "team.toml:3")
    assert cache(team + 'cache = "s3://own/envlock"\n') == ("s3://own/envlock", "envlock.toml:3")
    monkeypatch.setenv("ENVLOCK_CACHE", "s3://variable/envlock")
    assert cache(team + 'cache = "s3://own/envlock"\n') == ("s3://variable/envlock", "ENVLOCK_CACHE")


def test_tables_are_merged_by_key_and_lists_replaced(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text('[envlock.channel-mirrors]\na = "https://user.example/a"\nb = "https://user.example/b"\n')
    (tmp_path / "team.toml").write_text(
        '[envlock]\nchannels = ["one", "two"]\nindexes.x = "https://x.example/"\n'
        "system-requirements.linux-64.__glibc = '2.31'\n"
    )
    project = load(
        tmp_path,
        '[envlock]\nextends = "team.toml"\nchannels = ["three"]\nindexes.y = "https://y.example/"\n'
        "system-requirements.linux-64.__cuda = '12'\nchannel-mirrors.b = 'https://own.example/b'\n",
    )
    assert project.settings.channels == ("three",)
    assert dict(project.settings.indexes) == {"x": "https://x.example/", "y": "https://y.example/"}
    assert dict(dict(project.settings.system_requirements)["linux-64"]) == {"__glibc": "2.31", "__cuda": "12"}
    assert dict(project.settings.channel_mirrors) == {"a": "https://user.example/a", "b": "https://own.example/b"}
    assert project.locate(("envlock", "indexes", "x")) == Location("team.toml", 3, "envlock.indexes.x")
    assert project.locate(("envlock", "channel-mirrors", "a")).path == str(user_file)


def test_the_options_beside_a_cache_are_of_that_cache(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text('[envlock]\ncache = "s3://a/b"\ncache-options.endpoint = "https://objects.example"\n')
    assert load(tmp_path, "").cache_options.endpoint == "https://objects.example"
    assert load(tmp_path, '[envlock]\ncache = "s3://c/d"\n').cache_options.endpoint == ""
    user_file.write_text('[envlock]\ncache-options.profile = "mia"\n')
    options = load(tmp_path, '[envlock]\ncache = "s3://c/d"\ncache-options.region = "eu-1"\n').cache_options
    assert (options.profile, options.region) == ("mia", "eu-1")


def test_a_team_file_extends_another_and_its_folder_is_where_its_paths_begin(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "base.toml").write_text('[envlock]\nkeep-on-node = "1 GB"\ncache = "cache"\n')
    (tmp_path / "shared" / "team.toml").write_text('[envlock]\nextends = "../base.toml"\narchs = ["linux-64"]\n')
    project = load(tmp_path / "a" / "b", '[envlock]\nextends = "../../shared/team.toml"\n')
    assert (project.settings.archs, project.settings.keep_on_node) == (("linux-64",), "1 GB")
    assert project.cache_url == str(tmp_path / "cache")
    assert project.written_cache == str(tmp_path / "cache")
    assert origins(project)["keep-on-node"] == "../../base.toml:2"


def test_a_folder_in_a_users_file_begins_beside_it(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text('[envlock]\ncache = "cache"\n')
    assert load(tmp_path, "").cache_url == str(user_file.parent / "cache")
    user_file.write_text('[envlock]\ncache = "~/cache"\n')
    assert load(tmp_path, "").cache_url == str(user_file.parents[2] / "cache")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("cache", "s3://team/envlock", "s3://team/envlock"),
        ("cache-options", "region=eu-1 anonymous=true", ("", "eu-1", "", "", True)),
        ("python-mirror", "https://mirror.example/python", "https://mirror.example/python"),
        ("channel-mirrors", "a=https://x.example/a", (("a", "https://x.example/a"),)),
        (
            "index-mirrors",
            "https://a.example/simple=https://m.example/a",
            (("https://a.example/simple", "https://m.example/a"),),
        ),
        ("use-remote-latest", ":any:", ":any:"),
        ("use-remote-latest", "mia, joe", ("mia", "joe")),
        ("push-on-deploy", "1", True),
        ("keep-on-node", "1 GB", "1 GB"),
        ("pack", "1", True),
        ("pack", "false", False),
        ("pack", "auto", "auto"),
    ],
)
def test_a_variable_sets_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, text: str, value: object
) -> None:
    monkeypatch.setenv(variable_of(key), text)
    project = load(tmp_path, "")
    assert getattr(project.settings, key.replace("-", "_")) == value
    assert origins(project) == {key: variable_of(key)}
    monkeypatch.setenv(variable_of(key), "")
    assert origins(load(tmp_path, "")) == {}, "empty is not set"


@pytest.mark.parametrize(
    ("variable", "text", "fact"),
    [
        ("ENVLOCK_CACHE", "s3:/me:secret@team/x", "s3://"),
        ("ENVLOCK_CACHE_OPTIONS", "regoin=eu-1", "regoin"),
        ("ENVLOCK_CACHE_OPTIONS", "region", "region"),
        ("ENVLOCK_CACHE_OPTIONS", "key=secret", "key="),
        ("ENVLOCK_CACHE_OPTIONS", "a-secret", "there is no such option"),
        ("ENVLOCK_CACHE_OPTIONS", "anonymous=perhaps", "perhaps"),
        ("ENVLOCK_PYTHON_MIRROR", "me:secret@mirror", "python"),
        ("ENVLOCK_INDEX_MIRRORS", "https://a.example/simple=me:secret@b", "https://"),
        ("ENVLOCK_USE_REMOTE_LATEST", ":all:", ":all:"),
        ("ENVLOCK_PUSH_ON_DEPLOY", "maybe", "maybe"),
        ("ENVLOCK_KEEP_ON_NODE", "20", "20"),
        ("ENVLOCK_PACK", "perhaps", "perhaps"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named_with_a_right_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, fact: str
) -> None:
    monkeypatch.setenv(variable, text)
    error = failure(tmp_path)
    assert (error.code, place_of(error)) == ("bad-value", (variable, None, None))
    assert fact in error.render()
    assert f"export {variable}=" in str(error.hint)
    assert "secret" not in error.render()


def test_a_channel_mirror_of_a_variable_is_told_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", "a=https://me:s3cret@x.example/a conda-forge")
    error = failure(tmp_path)
    assert (error.code, "conda-forge" in error.message, "s3cret" in error.render()) == (
        "bad-channel-mirror",
        True,
        False,
    )


@pytest.mark.parametrize("key", [key for key in PROJECT if key not in MACHINE])
def test_what_decides_locks_is_refused_from_a_user(tmp_path: Path, user_file: Path, key: str) -> None:
    user_file.write_text(f'[envlock]\ncache = "s3://a/b"\n{key} = "x"\n')
    error = failure(tmp_path)
    assert error.code == "setting-enters-ids"
    assert place_of(error) == (str(user_file), 3, f"envlock.{key}")
    assert "envlock.toml" in str(error.hint)


def test_what_a_machine_may_set_is_marked_in_the_schema_and_has_a_variable() -> None:
    marked = tuple(field.alias for field in ProjectTable.model_fields.values() if PLACE in field.metadata)
    assert marked == PLACES == tuple(PLACE_VALUES)
    assert {variable_of(key) for key in PLACES} <= settings_files.VARIABLES.keys()


@pytest.mark.parametrize("kind", ["user", "ENVLOCK_CONFIG", "machine", "team"])
def test_faults_of_each_kind_of_file_are_told_with_its_line(
    tmp_path: Path, user_file: Path, machine_file: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = {"user": user_file, "machine": machine_file, "team": tmp_path / "team.toml"}.get(kind, tmp_path / "ci.toml")
    text = '[envlock]\nextends = "team.toml"\n' if kind == "team" else ""
    if kind == "ENVLOCK_CONFIG":
        monkeypatch.setenv("ENVLOCK_CONFIG", str(path))
    name = "team.toml" if kind == "team" else str(path)

    path.write_text('[envlock]\nkeep-on-node = "1 GB"\ncahce = "s3://a/b"\n')
    error = failure(tmp_path, text)
    assert (error.code, place_of(error)) == ("unknown-key", (name, 3, "envlock.cahce"))
    assert error.hint == "did you mean `cache`?"
    path.write_text('cache = "s3://a/b"\n')
    error = failure(tmp_path, text)
    assert (error.code, place_of(error), error.hint) == ("unknown-key", (name, 1, "cache"), "it belongs in `[envlock]`")
    path.write_text("[envlock]\n[env.base]\n")
    error = failure(tmp_path, text)
    assert (error.code, place_of(error)) == ("unknown-key", (name, 2, "env"))
    assert "envlock.toml" in str(error.hint)
    path.write_text("[envlock]\ncache = 1\n[envlock.channel-mirrors]\na = 'x'\n")
    error = failure(tmp_path, text)
    assert isinstance(error, ManyErrors)
    assert [(each.code, each.locations[0].line) for each in error.errors] == [("wrong-type", 2), ("bad-value", 4)]
    path.write_text("[envlock]\ncache = = 1\n")
    error = failure(tmp_path, text)
    assert (error.code, error.locations[0].line) == ("not-toml", 2)
    path.write_bytes(b"\xff\xfe")
    assert failure(tmp_path, text).code == "not-toml"


def test_a_home_is_of_a_machine_and_of_no_repository(tmp_path: Path, user_file: Path) -> None:
    error = failure(tmp_path, '[envlock]\nhome = "/data"\n')
    assert (error.code, place_of(error)) == ("unknown-key", ("envlock.toml", 2, "envlock.home"))
    assert "ENVLOCK_HOME" in str(error.hint)
    user_file.write_text("[envlock]\nhome = 1\n")
    error = failure(tmp_path)
    assert (error.code, place_of(error)) == ("wrong-type", (str(user_file), 2, "envlock.home"))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('home = "{tmp}/x"', "{tmp}/x"),
        ('home = "${{SCRATCH}}/x"', "{tmp}/scratch/x"),
        ("home = '{tmp}/x' # quoted otherwise", "{tmp}/x"),
        ('home = """{tmp}/x"""', "{tmp}/x"),
        ('"home" = "{tmp}/x"', "{tmp}/x"),
        ('home = "../x"', "{folder}/x"),
        ('keep-on-node = "1 GB" # home = "/y"', "{home}/.envlock"),
    ],
)
def test_the_home_is_where_a_file_says(
    tmp_path: Path, user_file: Path, monkeypatch: pytest.MonkeyPatch, written: str, expected: str
) -> None:
    from envlock.cli.prefix_memo import home as fast_home

    monkeypatch.delenv("ENVLOCK_HOME", raising=False)
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    user_file.write_text(f"[envlock]\n{written.format(tmp=tmp_path)}\n")
    right = expected.format(tmp=tmp_path, folder=user_file.parents[1], home=user_file.parents[2])
    assert os.path.normpath(home()) == os.path.normpath(fast_home()) == right
    load(tmp_path, "")
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "own"))
    assert (str(home()), fast_home()) == (str(tmp_path / "own"),) * 2


@pytest.mark.parametrize(
    ("text", "fact"), [("home = = 1", "line 1"), ("[envlock]\nhome = 1", "`home` is a string"), ('home = """', "TOML")]
)
def test_a_home_that_cannot_be_read_is_told_where_no_project_is_read(
    user_file: Path, monkeypatch: pytest.MonkeyPatch, text: str, fact: str
) -> None:
    monkeypatch.delenv("ENVLOCK_HOME", raising=False)
    user_file.write_text(text)
    with pytest.raises(UnreadableConfig, match=fact):
        home()


@pytest.mark.parametrize("what", ["the file", "its folder"])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, user_file: Path, what: str) -> None:
    user_file.write_text("[envlock]\n")
    load(tmp_path, "")
    open_one = user_file if what == "the file" else user_file.parent
    open_one.chmod(open_one.stat().st_mode | stat.S_IWOTH)
    error = failure(tmp_path)
    assert (error.code, place_of(error)) == ("untrusted-settings", (str(open_one), None, None))
    assert f"chmod o-w {open_one}" in str(error.hint)


def test_the_home_of_a_file_that_others_may_write_is_not_used(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from envlock.cli.prefix_memo import home as fast_home

    monkeypatch.delenv("ENVLOCK_HOME", raising=False)
    user_file.write_text('[envlock]\nhome = "/somewhere"\n')
    user_file.chmod(0o666)
    for each in (home, fast_home):
        with pytest.raises(EnvlockError) as caught:
            each()
        assert caught.value.code == "untrusted-settings"


def test_what_is_no_readable_file_is_told(tmp_path: Path, user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file.mkdir()
    assert (failure(tmp_path).code, str(user_file) in failure(tmp_path).message) == ("unreadable-config", True)
    user_file.rmdir()
    with user_file.open("wb") as file:
        file.truncate((4 << 20) + 1)
    assert "4 MiB" in failure(tmp_path).message
    user_file.unlink()
    os.mkfifo(user_file)
    assert "a named pipe" in failure(tmp_path).message
    user_file.unlink()
    user_file.symlink_to(user_file)
    assert failure(tmp_path).code == "unreadable-config"
    user_file.unlink()
    monkeypatch.setenv("ENVLOCK_CONFIG", str(tmp_path / "gone.toml"))
    error = failure(tmp_path)
    assert (error.code, "ENVLOCK_CONFIG" in error.message) == ("unreadable-config", True)


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text("[envlock]\n")
    user_file.chmod(0)
    with as_any_other_user():
        assert failure(tmp_path).code == "unreadable-config"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_in_a_folder_that_nobody_else_may_look_into_there_is_no_file(user_file: Path) -> None:
    user_file.write_text("[envlock]\n")
    user_file.parent.chmod(0o700)
    os.seteuid(65534)
    try:
        assert settings_files.read_settings("user file", str(user_file)) is None
        with pytest.raises(UnreadableConfig):
            settings_files.read_settings("ENVLOCK_CONFIG", str(user_file))
    finally:
        os.seteuid(0)


def test_no_settings_file_counts_where_envlock_config_is_dev_null(
    tmp_path: Path, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text("this is no TOML")
    monkeypatch.setenv("ENVLOCK_CONFIG", os.devnull)
    assert origins(load(tmp_path, "")) == {}


def test_a_long_row_of_team_files_takes_no_longer_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        (tmp_path / f"{number}.toml").write_text(f'[envlock]\nextends = "{number + 1}.toml"\n')
    (tmp_path / "40.toml").write_text('[envlock]\nkeep-on-node = "1 GB"\n')
    asked: list[str] = []

    def real(path: str) -> str:
        asked.append(path)
        return revisions.real(path)

    monkeypatch.setattr(layers, "real", real)
    project = load(tmp_path, '[envlock]\nextends = "0.toml"\n')
    assert origins(project)["keep-on-node"] == "40.toml:2"
    assert len(asked) <= 2 * 42


def test_team_files_that_extend_each_other_are_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[envlock]\nextends = "b.toml"\n')
    (tmp_path / "b.toml").write_text('\n[envlock]\nextends = "./a.toml"\n')
    error = failure(tmp_path, '[envlock]\nextends = "a.toml"\n')
    assert error.code == "extends-cycle"
    assert [(each.path, each.line) for each in error.locations] == [("a.toml", 2), ("b.toml", 3)]
    error = failure(tmp_path, '[envlock]\nextends = "envlock.toml"\n')
    assert (error.code, place_of(error)) == ("extends-cycle", ("envlock.toml", 2, "envlock.extends"))


@pytest.mark.parametrize("way", ["no file", "a folder", "out of the repository", "a link out of it", "absolute"])
def test_a_team_file_is_a_file_of_the_repository(tmp_path: Path, way: str) -> None:
    project = tmp_path / "repository" / "project"
    project.mkdir(parents=True)
    (project.parent / ".git").mkdir()
    (tmp_path / "outside.toml").write_text('[envlock]\nkeep-on-node = "1 GB"\n')
    (project / "folder").mkdir()
    (project / "link.toml").symlink_to(tmp_path / "outside.toml")
    written = {
        "no file": "gone.toml",
        "a folder": "folder",
        "out of the repository": "../../outside.toml",
        "a link out of it": "link.toml",
        "absolute": str(tmp_path / "outside.toml"),
    }[way]
    error = failure(project, f'[envlock]\nextends = "{written}"\n')
    assert error.code == ("bad-value" if way == "absolute" else "bad-team-file")
    assert place_of(error) == ("envlock.toml", 2, "envlock.extends")


def test_an_error_of_a_value_names_the_team_file_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text('[envlock]\nsystem-requirements.linux-64.__osx = "13"\n')
    error = failure(tmp_path, '[envlock]\nextends = "team.toml"\n')
    assert (error.code, place_of(error)[:2]) == ("unknown-key", ("team.toml", 2))
    (tmp_path / "team.toml").write_text('[envlock]\nsystem-requirements.linux-64.__glibc = "new"\n')
    error = failure(tmp_path, '[envlock]\nextends = "team.toml"\n')
    assert (error.code, place_of(error)[:2]) == ("bad-value", ("team.toml", 2))


def test_what_a_team_file_says_is_in_ids_as_if_envlock_toml_said_it(tmp_path: Path) -> None:
    own = 'index-url = "https://index.example/simple/"\nindexes.x = "https://x.example/"\nextra-indices = ["https://e.example/"]\n'
    rest = '[flow.Train]\nfile = "flow.py"\npypi.packages = { rich = { index = "x" } }\n'
    (tmp_path / "team.toml").write_text(f"[envlock]\n{own}")
    extended = load(tmp_path, f'[envlock]\nextends = "team.toml"\n{rest}')
    whole = load(tmp_path, f"[envlock]\n{own}{rest}")
    assert ids(extended) == ids(whole)
    environment = extended.environments()[0]
    key = environment.origin("https://e.example/")
    assert key is not None
    assert extended.locate(key)[:2] == ("team.toml", 4)


def ids(project: object) -> list[str]:
    return [each.requirements.req_id for each in project.environments()]  # type: ignore[attr-defined]


TEXT = """\
[envlock]
index-url = "https://index.example/simple/"
channels = ["main"]
[flow.Train]
file = "flow.py"
pypi.packages = { rich = ">=13", requests = "" }
[flow.Train.step.end]
conda.libraries = { ffmpeg = "" }
"""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.sampled_from(sorted(PLACE_VALUES))),
    st.dictionaries(
        st.sampled_from(["ENVLOCK_CACHE", "ENVLOCK_PYTHON_MIRROR", "METAFLOW_PROFILE"]),
        st.sampled_from(["https://mirror.example/x", "https://me:${TOKEN}@mirror.example"]),
    ),
)
def test_ids_are_the_same_whatever_a_machine_says(
    tmp_path: Path, user_file: Path, keys: set[str], variables: dict[str, str]
) -> None:
    user_file.unlink(missing_ok=True)
    expected = ids(load(tmp_path, TEXT))
    user_file.write_text("[envlock]\n" + "".join(f"{key} = {PLACE_VALUES[key]}\n" for key in sorted(keys)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        found = load(tmp_path, TEXT)
    assert ids(found) == expected
    assert {key: getattr(found.settings, key) for key in ("index_url", "channels", "archs", "hosts", "build")} == {
        "index_url": "https://index.example/simple/",
        "channels": ("main",),
        "archs": found.settings._field_defaults["archs"],
        "hosts": (),
        "build": False,
    }


def test_an_envlock_toml_that_is_read_again_has_its_layers(tmp_path: Path) -> None:
    from envlock.config.edit.save import load_text

    (tmp_path / "team.toml").write_text('[envlock]\nindexes.x = "https://x.example/"\n')
    text = '[envlock]\nextends = "team.toml"\n[env.base]\npypi.packages = { rich = { index = "x" } }\n'
    project = load(tmp_path, text)
    again = load_text(project.path, project.text)
    assert ids(again) == ids(project)
    assert load_project(project.path).table["indexes"] == {"x": "https://x.example/"}


def test_every_variable_that_the_code_names_is_in_the_table() -> None:
    source = Path(settings_files.__file__).parents[1]
    named = {
        name
        for path in source.rglob("*.py")
        for name in re.findall(r'["$\'`](ENVLOCK_[A-Z_]+)["\'` =/]', path.read_text(encoding="utf-8"))
    }
    examples = {"ENVLOCK_CAHCE", "ENVLOCK_TEAM", "ENVLOCK_TESTS_"}
    of_hosts = {name for name in named if name.startswith("ENVLOCK_INDEX_") and name != "ENVLOCK_INDEX_MIRRORS"}
    assert named - examples - of_hosts <= settings_files.VARIABLES.keys()
    assert len(named & settings_files.VARIABLES.keys()) > 10
