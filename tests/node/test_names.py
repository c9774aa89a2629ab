"""An alias names on a node the environment that it names everywhere else, at the moment when the task starts."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.cache.layout import move_path
from envlock.model.arch import Arch
from envlock.named.alias import Alias, parse_alias
from envlock.named.errors import BadAlias
from envlock.named.move import Move
from envlock.named.run_record import RunRecord
from metaflow_extensions.envlock.plugins.node import names
from metaflow_extensions.envlock.plugins.node.errors import Damaged, Misconfigured, Missing
from metaflow_extensions.envlock.plugins.node.manifest import Reference, Target, parse
from metaflow_extensions.envlock.plugins.node.names import Found, look_up
from tests.node.conftest import FolderCache
from tests.node.plans import ARCH, FULL_ID, REQ_ID, canonical, manifest, target_of, wheels_plan

MANIFEST = parse(canonical(manifest()))
OTHER_ID = "3" * 40
TASK = {"MF_PATHSPEC": "TrainFlow/7/late/1"}


@pytest.fixture(autouse=True)
def linux_64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where Metaflow's metadata is looked for
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "node", "6.1", "#1", "x86_64")))
    monkeypatch.setattr(names, "_PAUSE", 0)


def named(cache: FolderCache, text: str, kind: str = "name", **environ: str) -> Target:
    return look_up(MANIFEST, Reference(kind, text), "late", cache.transport, {**TASK, **environ})


def give_plan(cache: FolderCache, full_id: str = FULL_ID, *, modified: float = 0.0, **more: Any) -> str:
    """A plan in the cache; the value is its SHA-256."""
    data = canonical(wheels_plan(full_id=full_id, **more))
    sha256 = target_of(data).plan
    path = f"plans/{ARCH}/{REQ_ID}/{full_id}/{sha256}.json"
    cache.store.put(path, data)
    if modified:
        os.utime(f"{cache.store.url}/{path}", (modified, modified))
    return sha256


def give_alias(cache: FolderCache, alias: Alias, *full_ids: str, archs: tuple[str, ...] = (ARCH, "osx-arm64")) -> None:
    """The moves of a tag, one to each of these environments."""
    before = ""
    for sequence, full_id in enumerate(full_ids, 1):
        ids = tuple((Arch(arch), full_id) for arch in archs)
        move = Move(*alias, sequence, REQ_ID, ids, "mia", "2026-11-01T00:00:00Z", "Zoë's", "", before, "ab")
        cache.store.put(move_path(alias, sequence), move.render())
        before = move.digest


def test_an_alias_names_its_environment_on_this_arch(folder_cache: FolderCache) -> None:
    plan = give_plan(folder_cache)
    give_alias(folder_cache, Alias("team/env", "v1"), FULL_ID)
    assert named(folder_cache, "team/env:v1") == Target(ARCH, REQ_ID, FULL_ID, plan)


def test_a_tag_that_moved_is_seen_by_the_next_task(folder_cache: FolderCache) -> None:
    first, second = give_plan(folder_cache), give_plan(folder_cache, OTHER_ID)
    give_alias(folder_cache, Alias("team/env"), FULL_ID)
    assert named(folder_cache, "team/env").plan == first
    give_alias(folder_cache, Alias("team/env"), FULL_ID, OTHER_ID)
    assert named(folder_cache, "team/env:latest") == Target(ARCH, REQ_ID, OTHER_ID, second)


def test_the_variables_of_the_task_are_filled_in(folder_cache: FolderCache) -> None:
    give_plan(folder_cache)
    give_alias(folder_cache, Alias("team/run-7", "late"), FULL_ID)
    text = "@{TEAM}/run-@{METAFLOW_RUN_ID}:@{METAFLOW_STEP_NAME}"
    assert named(folder_cache, text, TEAM="team").full_id == FULL_ID
    with pytest.raises(Misconfigured, match="needs the value of `TEAM`"):
        named(folder_cache, text)


def test_ids_name_themselves(folder_cache: FolderCache) -> None:
    plan = give_plan(folder_cache)
    assert named(folder_cache, f"{REQ_ID}:{FULL_ID}") == Target(ARCH, REQ_ID, FULL_ID, plan)


@pytest.mark.parametrize("task", ["", "/5"])
def test_a_pathspec_names_what_ran(task: str, folder_cache: FolderCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_known_to_metaflow", lambda text: None)
    plan = give_plan(folder_cache)
    record = RunRecord("TrainFlow", "142", "start", Arch(ARCH), REQ_ID, FULL_ID)
    folder_cache.store.put(record.path, record.render())
    assert named(folder_cache, "TrainFlow/142/start" + task, "pathspec") == Target(ARCH, REQ_ID, FULL_ID, plan)


def test_what_ran_on_another_arch_is_used_if_it_is_planned_for_this_one(folder_cache: FolderCache) -> None:
    record = RunRecord("TrainFlow", "142", "start", Arch("linux-aarch64"), REQ_ID, FULL_ID)
    folder_cache.store.put(record.path, record.render())
    with pytest.raises(Missing, match=r"no plan of `TrainFlow/142/start` .*envlock push"):
        named(folder_cache, "TrainFlow/142/start", "pathspec")
    plan = give_plan(folder_cache)
    assert named(folder_cache, "TrainFlow/142/start", "pathspec").plan == plan


def test_metaflow_knows_what_no_record_says(folder_cache: FolderCache, monkeypatch: pytest.MonkeyPatch) -> None:
    from metaflow.client import core

    class KnownTask:
        metadata_dict = {"envlock_env_id": json.dumps([REQ_ID, FULL_ID, ARCH])}

    monkeypatch.setattr(core, "Task", lambda text, _namespace_check: KnownTask())
    plan = give_plan(folder_cache)
    assert named(folder_cache, "TrainFlow/142/start/5", "pathspec").plan == plan


@pytest.mark.parametrize("value", ["[1, 2, 3]", '["a", "b", "c"]', "{}", "null", "x"])
def test_what_metaflow_says_and_is_no_environment_is_passed_over(
    folder_cache: FolderCache, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    from metaflow.client import core

    known = SimpleNamespace(metadata_dict={"envlock_env_id": value})
    monkeypatch.setattr(core, "Task", lambda text, _namespace_check: known)
    with pytest.raises(Missing):
        named(folder_cache, "TrainFlow/142/start/5", "pathspec")


def test_a_task_is_what_metaflow_says_and_a_step_what_its_record_says(
    folder_cache: FolderCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_known_to_metaflow", lambda text: Found(REQ_ID, {ARCH: OTHER_ID}))
    give_plan(folder_cache), give_plan(folder_cache, OTHER_ID)
    record = RunRecord("TrainFlow", "142", "start", Arch(ARCH), REQ_ID, FULL_ID)
    folder_cache.store.put(record.path, record.render())
    assert named(folder_cache, "TrainFlow/142/start", "pathspec").full_id == FULL_ID
    assert named(folder_cache, "TrainFlow/142/start/5", "pathspec").full_id == OTHER_ID


def test_a_step_that_nobody_knows_is_reported(folder_cache: FolderCache) -> None:
    with pytest.raises(Missing, match=r"what `TrainFlow/142/none` ran in"):
        named(folder_cache, "TrainFlow/142/none", "pathspec")


def test_a_missing_alias_names_the_command_that_gives_it(folder_cache: FolderCache) -> None:
    with pytest.raises(Missing, match=r"called `team/env:v9`: `envlock alias team/env:v9 --env NAME`"):
        named(folder_cache, "team/env:v9")


def test_an_alias_that_lacks_the_arch_lists_those_that_it_has(folder_cache: FolderCache) -> None:
    give_alias(folder_cache, Alias("team/env", "v1"), FULL_ID, archs=("linux-aarch64", "osx-arm64"))
    with pytest.raises(Missing, match="not there for linux-64, only for linux-aarch64, osx-arm64"):
        named(folder_cache, "team/env:v1")


def test_an_environment_without_a_plan_names_push(folder_cache: FolderCache) -> None:
    give_alias(folder_cache, Alias("team/env", "v1"), FULL_ID)
    with pytest.raises(Missing, match="envlock push"):
        named(folder_cache, "team/env:v1")


@pytest.mark.parametrize(
    "text",
    ["Team/env", "team//env", "../env:v1", "team/env:v1:v2", "team/env:", "team/env:..", "a" * 40, "team/env:stable@3"],
)
def test_what_is_no_name_is_refused(text: str, folder_cache: FolderCache) -> None:
    with pytest.raises(Misconfigured, match="not a valid alias"):
        named(folder_cache, text)
    assert folder_cache.client.requested == []


@given(st.text("ab1A-_./:@", max_size=8) | st.from_regex(r"[a-z0-9-]{1,3}(/[a-z_]{0,2})?(:[a-z.-]{0,3})?"))
def test_a_node_and_envlock_agree_on_what_is_an_alias(text: str) -> None:
    try:
        wanted: object = tuple(parse_alias(text))
    except BadAlias:
        wanted = None
    try:
        found: object = names._alias(text)
    except Misconfigured:
        found = None
    assert found == wanted


@pytest.mark.parametrize("text", ["TrainFlow", "TrainFlow/1", "TrainFlow/../x", "Train Flow/1/x", "a/b/c/d/e"])
def test_what_is_no_pathspec_is_refused(text: str, folder_cache: FolderCache) -> None:
    with pytest.raises(Misconfigured, match="not the pathspec"):
        named(folder_cache, text, "pathspec")


class TestPlans:
    """The newest plan that this node can read counts."""

    def test_the_newest_counts(self, folder_cache: FolderCache) -> None:
        give_plan(folder_cache, modified=1000)
        newest = give_plan(folder_cache, modified=2000, system=[])
        give_plan(folder_cache, modified=1500, system=[["__glibc", "2.31"]])
        assert named(folder_cache, f"{REQ_ID}:{FULL_ID}").plan == newest

    def test_one_that_a_newer_envlock_wrote_is_passed_over(self, folder_cache: FolderCache) -> None:
        readable = give_plan(folder_cache, modified=1000)
        give_plan(folder_cache, modified=2000, format=5)
        assert named(folder_cache, f"{REQ_ID}:{FULL_ID}").plan == readable

    def test_if_none_can_be_read_the_newest_says_why(self, folder_cache: FolderCache) -> None:
        give_plan(folder_cache, modified=1000, format=5)
        give_plan(folder_cache, modified=2000, install="pack")
        with pytest.raises(Misconfigured, match="installs by `pack`"):
            named(folder_cache, f"{REQ_ID}:{FULL_ID}")

    def test_a_single_one_is_not_read(self, folder_cache: FolderCache) -> None:
        give_plan(folder_cache)
        folder_cache.store.put(f"plans/{ARCH}/{REQ_ID}/{FULL_ID}/README.json", b"{}")
        named(folder_cache, f"{REQ_ID}:{FULL_ID}")
        assert folder_cache.client.requested == []


class TestDamage:
    """A history that was tampered with is not used."""

    ALIAS = Alias("team/env", "stable")

    def test_a_move_that_is_missing(self, folder_cache: FolderCache) -> None:
        give_alias(folder_cache, self.ALIAS, FULL_ID, OTHER_ID)
        folder_cache.store.delete(move_path(self.ALIAS, 1))
        with pytest.raises(Damaged, match="not whole"):
            named(folder_cache, str(self.ALIAS))

    def test_a_tag_that_never_moves_and_did(self, folder_cache: FolderCache) -> None:
        give_alias(folder_cache, Alias("team/env", "v1"), FULL_ID, OTHER_ID)
        with pytest.raises(Damaged, match="not whole"):
            named(folder_cache, "team/env:v1")

    @pytest.mark.parametrize(
        "change",
        [
            lambda data: data.replace(FULL_ID.encode(), OTHER_ID.encode()),
            lambda data: data.replace(b"\n ", b"\n  "),
            lambda data: data[:-30],
            lambda data: b"[]",
            lambda data: b"\xff",
            lambda data: b"{" * 10_000,
        ],
    )
    def test_a_move_that_was_changed(self, change: Any, folder_cache: FolderCache) -> None:
        give_alias(folder_cache, self.ALIAS, FULL_ID)
        path = move_path(self.ALIAS, 1)
        folder_cache.store.put(path, change(folder_cache.store.read(path)))
        with pytest.raises(Damaged, match="changed after it was written"):
            named(folder_cache, str(self.ALIAS))

    @pytest.mark.parametrize(
        "change",
        [{"name": "team/other"}, {"tag": "latest"}, {"sequence": 2}, {"req_id": "x"}, {"full_ids": ()}],
        ids=str,
    )
    def test_a_move_of_another_place(self, change: dict[str, Any], folder_cache: FolderCache) -> None:
        move = Move(*self.ALIAS, 1, REQ_ID, ((Arch(ARCH), FULL_ID),), "mia", "2026-11-01T00:00:00Z", "x")
        folder_cache.store.put(move_path(self.ALIAS, 1), replace(move, **change).render())
        with pytest.raises(Damaged, match="not used"):
            named(folder_cache, str(self.ALIAS))

    def test_a_move_of_a_newer_format(self, folder_cache: FolderCache) -> None:
        folder_cache.store.put(move_path(self.ALIAS, 1), b'{"format": 2}')
        with pytest.raises(Misconfigured, match="newer envlock"):
            named(folder_cache, str(self.ALIAS))

    @pytest.mark.parametrize("data", [b"", b"[]", b'{"format": 1}', b"\xff"])
    def test_a_run_record_that_is_none(self, data: bytes, folder_cache: FolderCache) -> None:
        folder_cache.store.put(f"pathspecs/TrainFlow/142/start/{ARCH}.json", data)
        with pytest.raises(Damaged, match=r"linux-64\.json is no run record"):
            named(folder_cache, "TrainFlow/142/start", "pathspec")
