"""What a bucket said once of names that never move, and of locks by their ids, is not asked for again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envlock.__main__ import main
from envlock.cache.open import open_store
from envlock.config.selection import choose_one
from envlock.model.arch import ARCHS, host_arch
from envlock.named.alias import Alias
from envlock.named.give import give
from envlock.named.lookup import Lookup
from envlock.places import home
from tests.cache.locks import locked_project
from tests.cli.test_buckets import settings
from tests.conftest import Envlock
from tests.index import Index
from tests.servers.clouds import Cloud, forget_sessions
from tests.servers.proxy import Proxy, proxied

ALPHA = "alpha-1.0-py3-none-any.whl"
LAM = "lam-1.0-py3-none-any.whl"
HERE = host_arch()
TWO = (HERE, next(arch for arch in ARCHS if arch != HERE))


@pytest.fixture(scope="module")
def proxy(clouds: Callable[[str], Cloud]) -> Iterator[Proxy]:
    """One for all tests, so that what s3fs has of it serves all of them: to make it takes longer than a command."""
    forget_sessions()
    with proxied(clouds("moto").port) as counting:
        yield counting
    forget_sessions()


@pytest.fixture
def cloud(clouds: Callable[[str], Cloud], proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    cloud = clouds("moto").at(proxy.port)
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    proxy.forget()
    return cloud


@pytest.fixture
def asking(
    cloud: Cloud, proxy: Proxy, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """Runs a command in a project whose cache has `team/base:v1`; the value is what it asked the bucket."""
    text = settings(cloud, tmp_path.name)
    giver = locked_project(tmp_path / "giver", index, {"base": [ALPHA, LAM]}, archs=TWO, settings=text)
    lookup = Lookup(giver)
    for tag in ("v1", "candidate"):
        give(lookup, Alias("team/base", tag), lookup.environment(choose_one(giver, environment="base")))
    locked_project(tmp_path / "project", index, {}, archs=TWO, settings=text)
    monkeypatch.chdir(tmp_path / "project")

    def ask(*arguments: str) -> list[str]:
        proxy.passed.clear()
        assert main(arguments) == 0
        return [f"{method} {path}" for method, path in proxy.passed]

    return ask


def memos(kind: str) -> list[Path]:
    return sorted((home() / "remembered").glob(f"*/{kind}/**/*.*"))


def test_a_tag_that_never_moves_is_read_once(
    asking: Callable[..., list[str]], watched: Envlock, envlock: Envlock
) -> None:
    assert len(asking("show", "team/base:v1")) == 4, "the format, the tag's records, the record, the lock"
    first = envlock("show", "team/base:v1", "--json", env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = set(re.findall(r"\| +([\w.]+)$", first.stderr, flags=re.MULTILINE))
    assert "envlock.cache.immutable_cache" in imported
    assert not {"s3fs", "fsspec", "asyncio", "typer", "rich", "pydantic"} & imported
    again = watched("show", "team/base:v1")
    assert not [effect for effect in again.effects if effect.startswith(("talk", "write"))]
    assert "Name" in again.stdout
    assert first.json["environments"][0]["alias"]["tag"] == "v1"


def test_the_first_look_at_a_shared_name_imports_no_s3fs(asking: Callable[..., list[str]], envlock: Envlock) -> None:
    shown = envlock("show", "team/base:v1", "--json", env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = set(re.findall(r"\| +([\w.]+)$", shown.stderr, flags=re.MULTILINE))
    assert "envlock.cache.buckets.first_reads" in imported
    assert not {"s3fs", "fsspec", "aiohttp", "botocore"} & imported
    assert shown.json["environments"][0]["alias"]["tag"] == "v1"


def test_a_tag_that_moves_is_read_each_time_but_its_lock_is_not(asking: Callable[..., list[str]]) -> None:
    assert len(asking("show", "team/base:candidate")) == 4
    (fixed, listed, record) = asking("show", "team/base:candidate")
    assert "CACHE.json" in fixed
    assert "list-type" in listed
    assert "candidate" in record


@pytest.mark.parametrize("command", [("get", "team/base:v1", "--into", "locks"), ("tree", "team/base:v1")])
def test_other_readers(command: tuple[str, ...], asking: Callable[..., list[str]]) -> None:
    assert len(asking(*command)) == 3 + len(TWO)
    assert asking(*command) == []
    assert asking("show", "team/base:v1") == []


def test_a_lock_that_is_remembered_serves_every_arch_of_its_own(asking: Callable[..., list[str]]) -> None:
    asking("show", "team/base:v1")
    (fixed, lock) = asking("show", "team/base:v1", "--arch", TWO[1])
    assert "CACHE.json" in fixed
    assert TWO[1] in lock


@pytest.mark.parametrize(("kind", "asked"), [("aliases", 3), ("envs", 2)])
@pytest.mark.parametrize("damage", ["edited", "cut", "folder"])
def test_what_was_edited_is_read_again(kind: str, asked: int, damage: str, asking: Callable[..., list[str]]) -> None:
    asking("show", "team/base:v1")
    (memo,) = memos(kind)
    data = memo.read_bytes()
    if damage == "edited":
        changed = data.replace(b'"who": "', b'"who": "not-') if kind == "aliases" else data.replace(b"1.0", b"1.1")
        assert changed != data
        memo.write_bytes(changed)
    elif damage == "cut":
        memo.write_bytes(data[: len(data) // 2])
    else:
        memo.unlink()
        memo.mkdir()
    assert len(asking("show", "team/base:v1")) == asked
    assert len(asking("show", "team/base:v1")) == (asked if damage == "folder" else 0), "and remembered again"
    if damage != "folder":
        assert memo.read_bytes() == data


def test_another_lock_in_the_place_of_one_is_not_believed(asking: Callable[..., list[str]]) -> None:
    asking("show", "team/base:v1")
    asking("show", "team/base:v1", "--arch", TWO[1])
    one, other = memos("envs")
    one.write_bytes(other.read_bytes())
    archs = [arch for arch in TWO if arch in str(one)]
    assert len(asking("show", "team/base:v1", "--arch", archs[0])) == 2


def test_another_cache_of_the_same_url_is_another(asking: Callable[..., list[str]], tmp_path: Path) -> None:
    asking("show", "team/base:v1")
    config = tmp_path / "project/envlock.toml"
    config.write_text(config.read_text().replace("127.0.0.1", "0.0.0.0"))
    assert len(asking("show", "team/base:v1")) == 4


def test_who_writes_reads_the_bucket(asking: Callable[..., list[str]]) -> None:
    for _ in range(2):
        asking("get", "team/base:v1", "--into", "locks")
        asked = asking("alias", "team/again:v1", "team/base:v1")
        assert [each for each in asked if "team/base/%40tags/v1" in each or "team/base/@tags/v1" in each]
        assert [each for each in asked if "/envs/" in each]


def test_a_home_that_nothing_can_be_kept_in_is_no_error(asking: Callable[..., list[str]]) -> None:
    home().mkdir(exist_ok=True)
    (home() / "remembered").write_text("")
    assert len(asking("show", "team/base:v1")) == 4
    assert len(asking("show", "team/base:v1")) == 4


def test_a_name_that_was_deleted_is_still_shown(
    asking: Callable[..., list[str]], envlock: Envlock, cloud: Cloud, tmp_path: Path
) -> None:
    """It says which environment it named. Who would use it finds out."""
    asking("show", "team/base:v1")
    before = envlock("show", "team/base:v1").stdout
    store = open_store(cloud.url(tmp_path.name), cloud.options)
    for entry in [*store.entries("aliases/team/base/@tags/v1"), *store.entries("envs")]:
        store.delete(entry.path)
    assert envlock("show", "team/base:v1").stdout == before
    assert json.loads(envlock("alias", "log", "team/base:v1", "--json", check=2).stdout)["error"]["code"] == (
        "alias-not-found"
    )
