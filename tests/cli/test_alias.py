"""`envlock alias`, `get`, and `show` and `create` by name: what they print, and how they exit."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cache.layout import move_path
from envlock.cache.open import open_store
from envlock.cli.alias_history import log_text
from envlock.model.arch import ARCHS, host_arch
from envlock.named.alias import Alias
from envlock.named.diff import MoveDiff
from envlock.named.lookup import NamedEnvironment
from envlock.named.run_record import RunRecord, RunRecords
from tests.cli.test_help import completions
from tests.conftest import Envlock
from tests.index import Index
from tests.named.alias_drafts import draft
from tests.support import ProjectFolder, isolation, run_envlock, snapshot

HERE = host_arch()
OTHER = next(arch for arch in ARCHS if arch != HERE)
RUNNING = "{}.{}".format(*sys.version_info[:2])
WHEN = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
CONFIG = """\
[flow.DemoFlow]
file = "demoflow.py"
pypi = { python = "RUNNING", packages = { alpha = "1.0" } }

[flow.DemoFlow.step.end]
disabled = true

[env.base]
pypi = { python = "RUNNING", packages = { alpha = "1.1", lam = "" } }
""".replace("RUNNING", RUNNING)


@pytest.fixture(scope="module")
def named(index: Index, tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[ProjectFolder]:
    """A locked project beside its cache, with names in it: `v1`, and `latest`, which moved. Copied, never changed."""
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        project = ProjectFolder.make(tmp_path_factory.mktemp("alias") / "project", index.url)
        project.write_flow()
        project.write(CONFIG, settings='cache = "../cache"', archs=[HERE, OTHER])
        run_envlock("lock", cwd=project.folder)
        for arguments in (
            ("team/base:v1", "--flow", "DemoFlow", "--step", "start", "-m", "the first"),
            ("team/base", "--step", "train"),
            ("team/base", "--env", "base", "-m", "newer"),
        ):
            run_envlock("alias", *arguments, cwd=project.folder)
        yield project


@pytest.fixture
def project(named: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    """A copy of it and of its cache."""
    shutil.copytree(named.folder.parent / "cache", tmp_path / "cache")
    return named.copy(tmp_path / "project")


@pytest.fixture
def another(project: ProjectFolder, tmp_path: Path) -> Path:
    """The folder of a project that asks for what `base` asks for, has no lock, and shares the cache."""
    folder = tmp_path / "another"
    folder.mkdir()
    settings = project.config.read_text().partition("[flow")[0]
    (folder / "envlock.toml").write_text(settings + CONFIG[CONFIG.index("[env.base]") :].replace("base", "mine"))
    return folder


class TestGive:
    def test_what_it_says(self, project: ProjectFolder, envlock: Envlock) -> None:
        given = envlock("alias", "team/base:v2", "--env", "base")
        assert re.fullmatch(rf"gave team/base:v2 to base: [0-9a-f]{{12}}:[0-9a-f]{{12}} on {HERE}, \S+\n", given.stdout)
        assert given.stderr == "", "everything was there"
        again = envlock("alias", "give", "team/base:v2", "--env", "base").stdout
        assert re.search(rf"^team/base:v2 names .* already, since {WHEN}, when tester gave it from base$", again)
        moved = envlock("alias", "team/base", "team/base:v1").stdout
        assert re.search(r"moved team/base:latest to team/base:v1: .*\(move 3; before, it was [0-9a-f]{12}:", moved)

    @pytest.mark.parametrize(
        ("words", "meant"),
        [
            ("list", "envlock alias ls"),
            ("rm team/base:v1", "envlock alias rollback NAME:TAG"),
            ("delete", "envlock alias rollback NAME:TAG"),
            ("tag --env base", "envlock alias NAME:TAG --env ENVIRONMENT"),
            ("show team/base", "envlock show NAME:TAG"),
            ("pull", "envlock get NAME:TAG"),
            ("rolback team/base", "envlock alias rollback"),
        ],
    )
    def test_a_word_that_reads_as_a_command_names_nothing(self, tmp_path: Path, words: str, meant: str) -> None:
        (tmp_path / "envlock.toml").touch()
        refused = run_envlock("alias", *words.split(), cwd=tmp_path, check=2)
        word = words.split()[0]
        assert refused.stderr.startswith(f"error[usage]: `{word}` is not a command of `envlock alias`")
        assert f"envlock alias give {word} --env NAME" in refused.stderr
        assert meant in refused.stderr.partition("hint: ")[2]

    def test_the_same_words_are_names_where_they_are_written_as_such(
        self, project: ProjectFolder, envlock: Envlock
    ) -> None:
        assert envlock("alias", "list:v1", "--env", "base").stdout.startswith("gave list:v1 to base: ")
        assert envlock("alias", "give", "tag", "--env", "base").stdout.startswith("gave tag:latest to base: ")

    def test_what_it_brings_first_is_reported(self, project: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
        shutil.rmtree(tmp_path / "cache")
        given = envlock("alias", "team/base:v1", "--env", "base")
        assert re.search(rf"pushed 2 packages \(\S+ kB\) and 2 environments to {tmp_path}/cache", given.stderr)

    def test_an_arch_that_is_missing_is_reported(self, project: ProjectFolder, envlock: Envlock) -> None:
        shutil.rmtree(project.lock_folder / OTHER)
        given = envlock("alias", "team/base:v2", "--env", "base")
        assert f"note: not available for {OTHER}" in given.stderr
        assert envlock("alias", "team/base:v3", "--env", "base", "--json").json["lacking"] == [OTHER]
        refused = envlock("show", "team/base:v2", "--arch", OTHER, check=2)
        assert f"error[alias-lacks-arch]: `team/base:v2` is not there for {OTHER}\n  it is there for: {HERE}" in (
            refused.stderr
        )

    def test_for_machines(self, project: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
        given = envlock("alias", "team/base", "--flow", "DemoFlow", "--step", "start", "-m", "back", "--json").json
        assert (given["alias"], given["sequence"], given["changed"]) == ("team/base:latest", 3, True)
        assert (given["who"], given["source"], given["why"]) == ("tester", "DemoFlow/start", "back")
        assert given["before"]["sequence"] == 2
        assert set(given["full_ids"]) == {HERE, OTHER}
        assert given["pushed"] == {"packages": 0, "environments": 0}
        assert given["cache"] == str(tmp_path / "cache")
        again = envlock("alias", "team/base", "--step", "train", "--json").json
        assert (again["changed"], again["sequence"], again["sha256"]) == (False, 3, given["sha256"])

    def test_what_is_taken(self, project: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
        before = snapshot(tmp_path / "cache")
        ran = envlock("alias", "team/base:v1", "--env", "base", check=2)
        assert ran.stdout == ""
        assert "error[alias-taken]: `team/base:v1` is taken" in ran.stderr
        assert re.search(rf"given    {WHEN} by tester, from DemoFlow/start\n  why      the first\n", ran.stderr)
        assert "such as `team/base:v2`" in ran.stderr
        assert snapshot(tmp_path / "cache") == before, "nothing was done before it was refused"

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (("Team/base:v1", "--env", "base"), "bad-alias"),
            (("team/../base", "--env", "base"), "bad-alias"),
            (("team/base:v1:v2", "--env", "base"), "bad-alias"),
            (("x" * 300, "--env", "base"), "bad-alias"),
            (("te\u0430m/base", "--env", "base"), "bad-alias"),
            (("f" * 40, "--env", "base"), "bad-alias"),
            (("@{NOT_SET}/base", "--env", "base"), "unset-name-variable"),
            (("team/base:v9", "team/nothing"), "alias-not-found"),
            (("team/base:v9", "team/base@7"), "no-such-move"),
            (("team/base:v9", "1" * 40 + ":" + "2" * 40), "lock-not-found"),
            (("team/base:v9", "--pathspec", "DemoFlow/9/start"), "pathspec-not-found"),
            (("team/base:v9", "--pathspec", "DemoFlow/@{NOT_SET}/start"), "unset-name-variable"),
            (("team/base:v9",), "several-environments"),
            (("team/base:v9", "--step", "end"), "step-disabled"),
            (("team/base:v9", "--env", "nothing"), "no-such-selection"),
            (("team/base:v9", "team/base", "--env", "base"), "usage"),
            (("team/base:v9", "--env", "base", "--pathspec", "DemoFlow/9/start"), "usage"),
            (("rollback", "team/base:v1"), "alias-never-moves"),
            (("rollback", "team/base", "--to", "9"), "no-such-move"),
            (("promote", "team/base:candidate", "stable"), "alias-not-found"),
            (("promote", "team/base", "STABLE"), "bad-alias"),
            (("log", "team/nothing"), "alias-not-found"),
            (("diff", "team/base", "team/nothing"), "alias-not-found"),
        ],
        ids=lambda value: value if isinstance(value, str) else " ".join(value)[:40],
    )
    def test_bad_input(self, project: ProjectFolder, envlock: Envlock, arguments: tuple[str, ...], code: str) -> None:
        assert f"error[{code}]: " in envlock("alias", *arguments, check=2).stderr

    def test_bad_input_for_machines(self, project: ProjectFolder, envlock: Envlock) -> None:
        answer = json.loads(envlock("alias", "team/base:v1", "--env", "base", "--json", check=2).stdout)
        assert answer["error"]["code"] == "alias-taken"

    def test_a_name_is_refused_before_anything_is_read(self, tmp_path: Path, envlock: Envlock) -> None:
        assert "error[bad-alias]" in envlock("alias", "Team/base", check=2).stderr, "there is no envlock.toml here"


class TestHistory:
    def test_log(self, project: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
        envlock("alias", "rollback", "team/base", "-m", "broke the nightly")
        lines = [line.rstrip() for line in envlock("alias", "log", "team/base").stdout.splitlines()]
        assert lines[:2] == [f"team/base:latest, 3 moves in {tmp_path}/cache", ""]
        assert re.fullmatch(rf"\* 3  {WHEN}  tester  from team/base:latest@1  \(now\)", lines[2])
        assert lines[3] == "|    why      broke the nightly"
        changed = [line for line in lines if "changed" in line]
        archs = ", ".join(sorted([HERE, OTHER]))
        assert changed == [
            f"|    changed  on {archs}: alpha 1.1 -> 1.0, -lam 1.0",
            f"|    changed  on {archs}: alpha 1.0 -> 1.1, +lam 1.0",
        ]
        assert re.fullmatch(rf"\* 1  {WHEN}  tester  from DemoFlow/train", lines[-2])

    def test_log_for_machines(self, project: ProjectFolder, envlock: Envlock) -> None:
        answer = envlock("alias", "log", "team/base", "--json").json
        first, second = answer["moves"]
        assert (first["sequence"], second["sequence"], second["why"]) == (1, 2, "newer")
        assert second["changes"][0]["changes"][1] == {
            "verb": "added",
            "kind": "pypi",
            "name": "lam",
            "before": None,
            "after": "1.0",
            "direct": True,
        }

    def test_a_log_on_a_terminal(self) -> None:
        first = replace(draft("team/base"), why="two\nlines\x1b[2J")
        second = replace(draft("team/base", "b"), sequence=2, previous=first.digest)
        before, after = NamedEnvironment.of(first), NamedEnvironment.of(second)
        differences = (MoveDiff(before, before, ()), MoveDiff(before, after, (), is_complete=False))
        text = log_text(Alias("team/base"), differences, "/cache", drawn=True)
        assert text.plain.splitlines() == [
            "team/base:latest, 2 moves in /cache",
            "",
            "● 2  2026-11-01T00:00:00Z  mia  from base  (now)",
            "│    why      because of b",
            "│    is       bbbbbbbbbbbb:bbbbbbbbbbbb on linux-64",
            "│    unknown  what changed: a lock is no longer in the cache",
            "● 1  2026-11-01T00:00:00Z  mia  from base",
            "     why      two lines?[2J",
            "     is       aaaaaaaaaaaa:aaaaaaaaaaaa on linux-64",
        ]

    def test_diff(self, project: ProjectFolder, envlock: Envlock) -> None:
        archs = " and ".join(sorted([HERE, OTHER]))
        heading, *lines = envlock("alias", "diff", "team/base:v1", "team/base").stdout.splitlines()
        assert heading == f"team/base:v1 -> team/base:latest@2 on {archs}"
        assert lines[-3:] == ["  upgraded    alpha  1.0 -> 1.1", "  added       lam    1.0", "  0 packages the same"]
        same = envlock("alias", "diff", "team/base:v1", "team/base@1")
        assert same.stdout == "team/base:v1 -> team/base:latest@1\nthe same environment\n"
        (here, _) = envlock("alias", "diff", "team/base@2", "team/base@1", "--json").json["archs"]
        assert [change["verb"] for change in here["changes"]] == ["downgraded", "removed"]

    def test_ls(self, project: ProjectFolder, envlock: Envlock) -> None:
        envlock("alias", "promote", "team/base:latest", "stable")
        envlock("alias", "other/base:v1", "team/base:stable")
        head, *rows = [line.split() for line in envlock("alias", "ls").stdout.splitlines()]
        assert head == ["name", "move", "environment", "given", "by", "from", "why"]
        assert [row[:2] for row in rows] == [
            ["other/base:v1", "-"],
            ["team/base:latest", "2"],
            ["team/base:stable", "1"],
            ["team/base:v1", "-"],
        ]
        listed = envlock("alias", "ls", "team/base:", "--json").json["aliases"]
        assert [each["alias"] for each in listed] == ["team/base:latest", "team/base:stable", "team/base:v1"]
        nothing = envlock("alias", "ls", "nobody/")
        assert (nothing.stdout, "no alias that begins with nobody/" in nothing.stderr) == ("", True)

    def test_a_record_that_was_changed_by_hand(self, project: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
        place = tmp_path / "cache" / move_path(Alias("team/base"), 1)
        place.write_text(place.read_text().replace("tester", "nobody"))
        for arguments in (("alias", "log", "team/base"), ("alias", "rollback", "team/base")):
            ran = envlock(*arguments, check=3)
            assert "error[broken-alias-chain]: the history of `team/base:latest`" in ran.stderr
            assert str(place) in ran.stderr
        assert envlock("show", "team/base", "--json").json["environments"], "its newest record is whole"
        place = tmp_path / "cache" / move_path(Alias("team/base", "v1"), 1)
        place.write_text(place.read_text().replace("the first", "the last"))
        for arguments in (("show", "team/base:v1"), ("get", "team/base:v1"), ("create", "team/base:v1")):
            assert "error[broken-alias-chain]" in envlock(*arguments, check=3).stderr
        assert "(broken-alias-chain)" in envlock("alias", "ls", check=3).stdout


class TestUse:
    def test_show(self, project: ProjectFolder, envlock: Envlock, another: Path, tmp_path: Path) -> None:
        said = envlock("show", "team/base", cwd=another).stdout
        assert re.search(rf"Name +team/base:latest \(move 2\), given {WHEN} by tester from base: newer\n", said)
        assert re.search(rf"Available on +{HERE}, {OTHER}|Available on +{OTHER}, {HERE}", said)
        assert re.search(rf"Lock +{tmp_path}/cache\n", said)
        (shown,) = envlock("show", "team/base:latest@1", "--arch", OTHER, "--json", cwd=another).json["environments"]
        assert (shown["alias"]["sequence"], shown["arch"]) == (1, OTHER)
        assert [package["name"] for package in shown["packages"]] == ["alpha"]
        (by_ids,) = envlock("show", shown["identity"], "--json", cwd=another).json["environments"]
        assert by_ids["packages"] == shown["packages"]

    def test_what_the_project_calls_so_comes_first(self, project: ProjectFolder, envlock: Envlock) -> None:
        envlock("alias", "base", "team/base:v1")
        (own,) = envlock("show", "base", "--json").json["environments"]
        (shared,) = envlock("show", "base:latest", "--json").json["environments"]
        assert own["alias"] is None
        assert shared["alias"]["source"] == "team/base:v1"
        assert "no environment `DemoFlow/trian`" in envlock("show", "DemoFlow/trian", check=2).stderr

    def test_get(self, project: ProjectFolder, envlock: Envlock, another: Path, tmp_path: Path) -> None:
        assert envlock("check", cwd=another, check=1)
        said = envlock("get", "team/base", cwd=another).stdout.splitlines()
        assert said[-1] == f"team/base:latest@2 on {HERE}, {OTHER} is used by mine"
        assert [line.split()[0] for line in said[:-1]] == ["wrote", "wrote"]
        assert envlock("check", cwd=another)
        answer = envlock("get", "team/base", "--json", cwd=another).json
        assert (answer["written"], len(answer["kept"]), answer["serves"]) == ([], 2, ["mine"])

    def test_get_what_nothing_needs(
        self, project: ProjectFolder, envlock: Envlock, another: Path, tmp_path: Path
    ) -> None:
        ran = envlock("get", "team/base:v1", cwd=another, check=2)
        assert "error[not-needed]" in ran.stderr
        assert not (another / "envlock.lock").exists()
        ran = envlock("get", "team/base:v1", "--arch", HERE, "--into", "locks", cwd=another)
        assert f"team/base:v1 on {HERE} is used by no environment in envlock.toml\n" in ran.stdout
        assert len(list((another / "locks").glob(f"{HERE}/*/pylock.*.toml"))) == 1
        assert "error[usage]" in envlock("get", cwd=another, check=2).stderr

    def test_create_and_run(self, project: ProjectFolder, envlock: Envlock, another: Path) -> None:
        made = envlock("create", "team/base:v1", "--name", "shared", cwd=another).stdout.strip()
        assert Path(made).is_dir()
        code = "import importlib.metadata as m; print(m.version('alpha'))"
        assert envlock("run", "--name", "shared", "--", "python", "-c", code, cwd=another).stdout == "1.0\n"
        (shown,) = envlock("show", "team/base:v1", "--json", cwd=another).json["environments"]
        assert shown["locally_present_as"] == made
        assert envlock("create", shown["identity"], cwd=another).stdout.strip() == made
        assert "error[usage]" in envlock("create", "team/base:v1", "--env", "mine", cwd=another, check=2).stderr

    def test_a_task_that_ran(self, project: ProjectFolder, envlock: Envlock, another: Path, tmp_path: Path) -> None:
        """Metaflow here knows nothing of it: the launcher kept it in the cache."""
        (shown,) = envlock("show", "team/base:v1", "--json").json["environments"]
        ran = RunRecord("DemoFlow", "142", "start", HERE, shown["req_id"], shown["full_id"])
        RunRecords(open_store(str(tmp_path / "cache"))).write(ran)
        (found,) = envlock("show", "--pathspec", "DemoFlow/142/start", "--json", cwd=another).json["environments"]
        assert (found["task"], found["identity"]) == ("DemoFlow/142/start", shown["identity"])
        made = envlock("create", "--pathspec", "DemoFlow/@{RUN}/start", cwd=another, env={"RUN": "142"}).stdout.strip()
        assert made.endswith(f"metaflow_{shown['req_id']}_{shown['full_id']}")
        nowhere = tmp_path / "nowhere"
        nowhere.mkdir()
        anywhere = {"ENVLOCK_CACHE": str(tmp_path / "cache")}
        found = envlock("path", "--pathspec", "DemoFlow/142/start", cwd=nowhere, env=anywhere).stdout.strip()
        assert (found, list(nowhere.iterdir())) == (made, []), "no envlock.toml is needed"
        given = envlock("alias", "team/rerun:v1", "--pathspec", "DemoFlow/142/start/7", cwd=another, check=True)
        assert given.stdout.startswith("gave team/rerun:v1 to DemoFlow/142/start: ")
        into = envlock("get", "--pathspec", "DemoFlow/142/start", "--into", "locks", cwd=another)
        assert "is used by no environment" in into.stdout
        unknown = envlock("show", "--pathspec", "DemoFlow/143/start", cwd=another, check=2)
        assert "error[pathspec-not-found]" in unknown.stderr
        assert f"the cache {tmp_path}/cache does not know it either" in unknown.stderr

    def test_a_newer_cache_is_not_understood(self, project: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
        (tmp_path / "cache" / "CACHE.json").write_text('{"format": 99}')
        for arguments in (
            ("show", "team/base"),
            ("get", "team/base"),
            ("alias", "ls"),
            ("alias", "a", "--env", "base"),
        ):
            assert "error[newer-cache]" in envlock(*arguments, check=2).stderr


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("envlock show team/", ["team/base:latest", "team/base:v1"]),
        ("envlock get t", ["team/base:latest", "team/base:v1"]),
        ("envlock alias log team/base", ["team/base:latest", "team/base:v1"]),
        ("envlock alias pro", ["promote"]),
        ("envlock show s", ["start"]),
    ],
)
def test_the_shell_completes_names(project: ProjectFolder, envlock: Envlock, line: str, offered: list[str]) -> None:
    assert completions(envlock, line, project.folder) == offered


def test_the_shell_waits_for_no_bucket(project: ProjectFolder, envlock: Envlock) -> None:
    project.edit("../cache", "s3://nowhere/x")
    assert completions(envlock, "envlock get t", project.folder) == []


def test_completing_after_a_word_that_reads_as_a_command_says_nothing(tmp_path: Path, envlock: Envlock) -> None:
    (tmp_path / "envlock.toml").touch()
    assert completions(envlock, "envlock alias rm t", tmp_path) == []
