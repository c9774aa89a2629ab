"""`${VARIABLE}` in every URL that envlock.toml has: filled in, judged, and never more of it kept than may be."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.errors import EnvlockError, ManyErrors
from envlock.lockfile.folder import read_lock
from envlock.model.artifact import artifacts_of
from envlock.model.lock import Lock
from envlock.workflow.check import check
from envlock.workflow.hydrate import hydrate
from envlock.workflow.lock import lock
from envlock.workflow.push import push
from envlock.workflow.upstream import upstream_of
from tests.channel import Channel, Credentials
from tests.index import Index, Release
from tests.support import files_holding, needs_localhost

SECRET = "s3cr3t-t0ken"
BASE = '[envlock]\nmetaflow-requirements = false\narchs = ["linux-64"]\n'


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Writes an envlock.toml: settings of linux-64 alone, then this text."""
    folder = tmp_path / "project"
    folder.mkdir()

    def write(text: str) -> Path:
        (folder / "envlock.toml").write_text(BASE + text)
        return folder / "envlock.toml"

    return write


def locked(path: Path) -> Lock:
    """The one lock that is made of a project."""
    (each,) = lock(load_project(path)).locked
    return read_lock(each.path)


def refused(path: Path) -> EnvlockError:
    with pytest.raises(EnvlockError) as caught:
        lock(load_project(path))
    assert not (path.parent / "envlock.lock").exists()
    return caught.value


def told(error: EnvlockError) -> str:
    return error.render() + repr(error.as_dict())


def parts(index: Index) -> tuple[str, str]:
    """Host with port, and the first folder of an index's URL."""
    host, folder = index.base.removeprefix("http://").strip("/").split("/")
    return host, folder


# A variable that makes no URL.


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "unset-variable"),
        ("", "unset-variable"),
        (f"{SECRET}", "bad-variable"),
        (f"ftp://{SECRET}.example/simple", "bad-variable"),
        (f"file:///srv/{SECRET}", "bad-variable"),
        (f"https://{SECRET} /simple", "bad-variable"),
        (f"https:///{SECRET}", "bad-variable"),
        ("https://${OTHER}/simple", "bad-variable"),
    ],
)
def test_an_index_that_is_none_once_it_is_filled_in_is_never_passed_over(
    value: str | None, code: str, index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("TEAM_INDEX", value)
    pypi = '[env.base.pypi]\npackages = { alpha = "" }\n'
    for text, line, key in (
        (f'index-url = "{index.url}"\nextra-indices = ["${{TEAM_INDEX}}"]\n{pypi}', 5, "envlock.extra-indices.0"),
        (f'index-url = "{index.url}"\n{pypi}extra_indices = ["${{TEAM_INDEX}}"]', 7, "env.base.pypi.extra_indices.0"),
        (f'index-url = "${{TEAM_INDEX}}"\n{pypi}', 4, "envlock.index-url"),
    ):
        error = refused(written(text))
        assert error.code == code
        assert error.exit_status == 2
        assert "`TEAM_INDEX`" in error.message
        assert [(at.line, at.key) for at in error.locations] == [(line, key)]
        assert SECRET not in told(error)


def test_one_of_several_indexes_is_shown_on_its_own_line(
    index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_INDEX", "nonsense")
    error = refused(
        written(f'extra-indices = [\n  "{index.url}",\n  "${{TEAM_INDEX}}",\n]\n[env.base.pypi.packages]\nalpha = ""\n')
    )
    assert [(at.line, at.key) for at in error.locations] == [(6, "envlock.extra-indices.1")]


def test_an_index_of_a_requirements_file_names_its_line(
    index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_INDEX", "nonsense")
    path = written(f'index-url = "{index.url}"\n[env.base]\nrequirements = "r.txt"\n')
    (path.parent / "r.txt").write_text("alpha\n--extra-index-url ${TEAM_INDEX}\n")
    error = refused(path)
    assert error.code == "bad-variable"
    assert [(at.path, at.line) for at in error.locations] == [("r.txt", 2)]


def test_every_variable_that_is_not_set_is_reported_at_once(written: Callable[[str], Path]) -> None:
    error = refused(
        written(
            'extra-indices = ["${ONE}"]\nchannels = ["${TWO}"]\nchannel-mirrors = { main = "${THREE}" }\n'
            '[env.base.pypi.packages]\n"alpha@https://${FOUR}/alpha-1.0-py3-none-any.whl" = ""\n'
            '[env.base.conda]\nlibraries = { upper = "" }\n'
        )
    )
    assert isinstance(error, ManyErrors)
    assert {(each.code, each.message.split("`")[1], each.locations[0].line) for each in error.errors} == {
        ("unset-variable", "ONE", 4),
        ("unset-variable", "TWO", 5),
        ("unset-variable", "THREE", 6),
        ("unset-variable", "FOUR", 8),
    }


@pytest.mark.parametrize("value", [f"https://me:{SECRET}@files.example", "ftp://files.example"])
def test_a_direct_url_is_judged_once_it_is_filled_in(
    value: str, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILES", value)
    error = refused(written('[env.base.pypi.packages]\n"alpha@${FILES}/alpha-1.0-py3-none-any.whl" = ""\n'))
    assert (error.code, error.locations[0].line) == ("bad-variable", 5)
    assert SECRET not in told(error)


# A variable that makes one.


def test_a_host_is_filled_in_and_the_id_is_everybodys(
    index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, folder = parts(index)
    path = written(
        f'index-url = "http://${{HOST}}/{folder}/simple/"\n[env.base.pypi]\npackages = {{ alpha = "==1.1" }}\n'
    )
    (environment,) = load_project(path).environments()
    monkeypatch.setenv("HOST", host)
    found = locked(path)
    assert [package.url for package in found.packages] == [index.file_url("alpha-1.1-py3-none-any.whl")]
    assert found.req_id == environment.requirements.req_id
    monkeypatch.delenv("HOST")
    assert check(load_project(path)).exit_status == 0
    assert lock(load_project(path)).locked[0].action == "kept"  # what is locked asks nobody


def test_what_stands_in_a_path_may_be_a_secret_and_is_never_kept(
    index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host, secret = parts(index)
    path = written(
        'cache = "../cache"\nindex-url = "http://${HOST}/${TEAM}/simple/"\n'
        '[env.base.pypi]\npython = "3.12"\npackages = { alpha = "==1.1" }\n'
    )
    monkeypatch.setenv("HOST", host)
    monkeypatch.setenv("TEAM", secret)
    found = locked(path)
    assert found.packages[0].url.startswith(f"http://{host}/${{TEAM}}/files/")
    assert found.packages[0].index == f"http://{host}/${{TEAM}}/simple/"
    assert check(load_project(path)).exit_status == 0
    assert push(load_project(path)).moved == 1
    assert not files_holding(secret, tmp_path)
    written(path.read_text().removeprefix(BASE).replace("==1.1", "==9"))
    with pytest.raises(EnvlockError) as caught:
        lock(load_project(path))
    assert caught.value.code == "no-solution"
    assert secret not in told(caught.value)


def percent_encoded(url: str) -> str:
    """The URL, a letter of its first folder spelled otherwise."""
    return re.sub(r"^(http://[^/]+/)(.)", lambda found: f"{found[1]}%{ord(found[2]):02X}", url)


def test_what_an_index_spells_otherwise_is_never_kept_or_shown(
    make_index: Callable[..., Index], written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    index = make_index(Release("alpha", "1.1"), link=percent_encoded)
    host, secret = parts(index)
    monkeypatch.setenv("TEAM", secret)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    path = written(
        f'cache = "../cache"\nindex-url = "http://{host}/${{TEAM}}/simple/"\n[env.base.pypi.packages]\nalpha = ""\n'
    )
    index.fail("files/*")
    error = refused(path)
    assert "${TEAM}/files/" in told(error)
    assert secret[1:] not in told(error)
    index.mend()
    assert locked(path).packages[0].url.startswith(f"http://{host}/${{TEAM}}/files/")
    assert push(load_project(path)).moved == 1
    assert not files_holding(secret[1:], tmp_path)


@needs_localhost
def test_a_link_to_another_host_that_holds_a_secret_is_refused(
    make_index: Callable[..., Index], written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    index = make_index(Release("alpha", "1.1"), link=lambda url: url.replace("127.0.0.1", "localhost"))
    host, secret = parts(index)
    monkeypatch.setenv("TEAM", secret)
    error = refused(written(f'index-url = "http://{host}/${{TEAM}}/simple/"\n[env.base.pypi.packages]\nalpha = ""\n'))
    assert (error.code, error.exit_status) == ("secret-in-link", 4)
    assert "`TEAM`" in error.message
    assert secret not in told(error)
    assert not files_holding(secret, tmp_path)


def test_what_is_fetched_to_be_hashed_is_filled_in_too(
    make_index: Callable[..., Index], written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host, secret = parts(index := make_index(Release("alpha", "1.1"), hashes=("md5",)))
    monkeypatch.setenv("TEAM", secret)
    path = written(f'index-url = "http://{host}/${{TEAM}}/simple/"\n[env.base.pypi.packages]\nalpha = "==1.1"\n')
    (package,) = locked(path).packages
    assert package.sha256 == index.artifact("alpha-1.1-py3-none-any.whl").sha256
    assert not files_holding(secret, tmp_path)


def test_what_a_path_needs_to_be_fetched_is_named(
    index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, secret = parts(index)
    settings = f'cache = "../cache"\nindex-url = "http://{host}/${{TEAM}}/simple/"\n'
    path = written(f'{settings}[env.base.pypi.packages]\nalpha = "==1.1"\n')
    monkeypatch.setenv("TEAM", secret)
    locked(path)
    monkeypatch.delenv("TEAM")
    (failure,) = push(load_project(path)).failures
    assert failure.code == "unset-variable"
    assert "`TEAM`" in failure.message


def test_no_variable_but_those_of_the_projects_own_urls_is_ever_sent(
    index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host, secret = parts(index)
    monkeypatch.setenv("TEAM", secret)
    settings = f'cache = "../cache"\nindex-url = "http://{host}/${{TEAM}}/simple/"\n'
    path = written(f'{settings}[env.base.pypi.packages]\nalpha = "==1.1"\n')
    (artifact,) = artifacts_of(locked(path))
    written(f'cache = "../cache"\nindex-url = "{index.url}"\n[env.base.pypi.packages]\nalpha = "==1.1"\n')
    asked = len(index.requests)
    with upstream_of(load_project(path)) as upstream, pytest.raises(EnvlockError):
        upstream.fetch(artifact, tmp_path / artifact.filename, on_bytes=lambda _: None, on_size=lambda _: None)
    assert not any(secret in request.path and "files" in request.path for request in index.requests[asked:])


def test_a_variable_may_hold_the_whole_url_with_its_credentials(
    private_index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEAM_INDEX", private_index.url_with("reader", SECRET))
    path = written('cache = "../cache"\nextra-indices = ["${TEAM_INDEX}"]\n[env.base.pypi.packages]\nalpha = "==1.1"\n')
    found = locked(path)
    assert found.packages[0].index == private_index.url
    assert found.requirements.indexes == ("${TEAM_INDEX}",)
    assert push(load_project(path)).moved == 1
    assert not files_holding(SECRET, tmp_path)


def test_a_direct_url_is_filled_in(
    index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host, secret = parts(index)
    monkeypatch.setenv("HOST", host)
    monkeypatch.setenv("TEAM", secret)
    url = index.file_url("alpha-1.1-py3-none-any.whl").replace(f"{host}/{secret}/", "${HOST}/${TEAM}/")
    path = written(f'cache = "../cache"\n[env.base.pypi.packages]\n"alpha@{url}" = ""\n')
    (package,) = locked(path).packages
    assert package.url == url.replace("${HOST}", host)
    assert check(load_project(path)).exit_status == 0
    assert push(load_project(path)).moved == 1
    assert not files_holding(secret, tmp_path)


# Channels.


@pytest.mark.parametrize("kind", ["index", "channel"])
def test_what_cannot_be_reached_is_reported_without_what_its_path_holds(
    kind: str, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM", SECRET)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    text = {
        "index": 'index-url = "http://127.0.0.1:9/${TEAM}/simple"\n[env.base.pypi.packages]\nalpha = ""\n',
        "channel": 'channels = ["http://127.0.0.1:9/${TEAM}/main"]\n[env.base.conda.libraries]\nupper = ""\n',
    }
    error = refused(written(text[kind]))
    assert error.code == f"{kind}-unreachable"
    assert "${TEAM}" in told(error)
    assert SECRET not in told(error)


@pytest.mark.parametrize("way", ["whole", "host", "path"])
def test_a_channel_is_filled_in(
    way: str,
    private_channel: Channel,
    written: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    credentials = private_channel.credentials
    assert isinstance(credentials, Credentials)
    assert credentials.basic is not None
    user, password = credentials.basic
    base = private_channel.url_of("main").removeprefix("http://")
    host, secret, _ = base.split("/")
    monkeypatch.setenv("HOST", host)
    monkeypatch.setenv("TEAM", secret)
    monkeypatch.setenv("WHO", user)
    monkeypatch.setenv("TOKEN", password)
    monkeypatch.setenv("CHANNEL", f"http://{user}:{password}@{base}")
    channel, kept = {
        "whole": ("${CHANNEL}", f"http://{base}"),
        "host": (f"http://${{WHO}}:${{TOKEN}}@${{HOST}}/{secret}/main", f"http://{base}"),
        "path": ("http://${WHO}:${TOKEN}@${HOST}/${TEAM}/main", f"http://{host}/${{TEAM}}/main"),
    }[way]
    path = written(f'cache = "../cache"\nchannels = ["{channel}"]\n[env.base.conda]\nlibraries = {{ upper = "" }}\n')
    found = locked(path)
    assert {package.conda.channel for package in found.conda_packages if package.conda} == {kept}
    assert all(package.url.startswith(f"{kept}/") for package in found.conda_packages)
    assert check(load_project(path)).exit_status == 0
    assert push(load_project(path)).failures == ()
    assert not files_holding(password, tmp_path)
    assert way != "path" or not files_holding(secret, tmp_path)


def test_variables_that_are_none_are_reported_of_the_environments_mirrors_too(
    written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written('channels = ["main-channel"]\n[env.base.conda]\nlibraries = { upper = "" }\n')
    for mirror, code in (("https://${", "bad-channel"), ("https://${MIRROR}/x", "unset-variable"), ("x", "bad")):
        monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", f"main-channel={mirror}")
        assert refused(path).code.startswith(code)


def test_a_channel_of_one_package_is_filled_in(
    private_channel: Channel, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHANNEL", private_channel.url_with_password("private"))
    main = private_channel.url_with_password("main")
    path = written(f'channels = ["{main}"]\n[env.base.conda.libraries]\n"${{CHANNEL}}::secret" = ""\n')
    found = {package.name: package.url for package in locked(path).conda_packages}
    assert found["secret"].startswith(private_channel.url_of("private"))
    assert check(load_project(path)).exit_status == 0
    monkeypatch.setenv("CHANNEL", "no channel")
    written(path.read_text().removeprefix(BASE).replace('::secret" = ""', '::secret" = "<9"'))
    assert check(load_project(path)).exit_status == 1
    with pytest.raises(EnvlockError) as caught:
        lock(load_project(path))
    assert (caught.value.code, caught.value.locations[0].line) == ("bad-variable", 6)


def test_a_mirror_is_filled_in(
    channel: Channel, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIRRORS", channel.url_of("main").rpartition("/")[0])
    path = written(
        'channel-mirrors = { main-channel = "${MIRRORS}/main" }\nchannels = ["main-channel"]\n'
        '[env.base.conda]\nlibraries = { upper = "" }\n'
    )
    assert {package.name for package in locked(path).packages} >= {"upper"}
    monkeypatch.setenv("MIRRORS", "nonsense")
    written(path.read_text().removeprefix(BASE).replace("upper", "lower"))
    with pytest.raises(EnvlockError) as caught:
        lock(load_project(path))
    assert caught.value.code == "bad-variable"
    assert [(at.line, at.key) for at in caught.value.locations] == [(4, "envlock.channel-mirrors.main-channel")]


# The cache, and what is beside it.


def test_a_cache_is_filled_in(
    index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = written(f'cache = "${{B}}/x y"\nindex-url = "{index.url}"\n[env.base.pypi.packages]\nalpha = "==1.1"\n')
    locked(path)
    for value, word in ((None, "not set"), ("", "empty")):
        if value is not None:
            monkeypatch.setenv("B", value)
        with pytest.raises(EnvlockError) as caught:
            push(load_project(path))
        assert caught.value.code == "unset-variable"
        assert word in caught.value.message
        assert [(at.line, at.key) for at in caught.value.locations] == [(4, "envlock.cache")]
    monkeypatch.setenv("B", str(tmp_path / "shared"))
    assert push(load_project(path)).moved == 1
    assert (tmp_path / "shared" / "x y").is_dir()
    assert not (path.parent / "${B}").exists()
    monkeypatch.setenv("B", "memory://team")
    assert load_project(path).cache_url == "memory://team/x y"


@pytest.mark.parametrize(
    ("setting", "name", "right", "wrong"),
    [
        ('cache-options = { endpoint = "${X}" }', "cache_options", "https://objects.example", "objects.example"),
        ('cache-options = { endpoint = "${X}" }', "cache_options", "https://objects.example", "http://me:pw@a.example"),
        ('python-mirror = "${X}/python"', "python_mirror", "https://mirror.example", "mirror.example"),
    ],
)
def test_a_setting_that_is_a_url_is_filled_in(
    setting: str, name: str, right: str, wrong: str, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = load_project(written(f"{setting}\n"))
    with pytest.raises(EnvlockError) as caught:
        getattr(project, name)
    assert caught.value.code == "unset-variable"
    monkeypatch.setenv("X", right)
    assert right in str(getattr(project, name))
    monkeypatch.setenv("X", wrong)
    with pytest.raises(EnvlockError) as caught:
        getattr(project, name)
    assert (caught.value.code, caught.value.locations[0].line) == ("bad-variable", 4)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("python-mirror", value) for value in ("nonsense", "ftp://mirror.example", "${A-B}", "https://${A B}/x")),
        *(("cache", value) for value in ("${ROOT:-/srv}/cache", "${}/cache", "s3://team/${BRANCH")),
    ],
)
def test_what_no_variable_can_make_right_is_refused_at_once(
    key: str, value: str, written: Callable[[str], Path]
) -> None:
    with pytest.raises(EnvlockError) as caught:
        load_project(written(f'{key} = "{value}"\n'))
    assert (caught.value.code, caught.value.locations[0].line) == ("bad-value", 4)


def test_an_environment_that_is_here_needs_no_variable(
    index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASE", index.base)
    path = written(
        'cache = "${CACHE}"\nindex-url = "${BASE}simple/"\n[env.base.pypi]\npackages = { alpha = "==1.1" }\n'
    )
    found = locked(path)
    monkeypatch.setenv("CACHE", str(path.parent.parent / "cache"))
    project = load_project(path)
    prefix = hydrate(project, found)
    monkeypatch.delenv("BASE")
    monkeypatch.delenv("CACHE")
    assert hydrate(load_project(path), found) == prefix


def test_hosts_judges_what_a_variable_held(
    index: Index, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, folder = parts(index)
    monkeypatch.setenv("HOST", host)
    asked = f'extra-indices = ["http://${{HOST}}/{folder}/simple/"]\n[env.base.pypi.packages]\nalpha = "==1.1"\n'
    path = written(f'hosts = ["127.0.0.1"]\n{asked}')
    locked(path)
    monkeypatch.delenv("HOST")
    assert check(load_project(path)).exit_status == 0
    written(f'hosts = ["other.example"]\n{asked}')
    (finding,) = check(load_project(path)).findings
    assert (finding.verdict, "127.0.0.1" in finding.reasons[0]) == ("host-not-allowed", True)
