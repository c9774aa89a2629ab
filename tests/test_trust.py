"""Nothing is run, or believed, that somebody else may have written."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from envlock.cli.prefix_memo import recall, remember
from envlock.hydration.prefix import Receipt, find_prefix, write_receipt
from envlock.places import UntrustedHome, folder_in_home, home, trusted
from envlock.stage import make_once
from envlock.trust import FOLDERS, VARIABLE, Closed, distrust, make_folder
from envlock.uv_command import uv_environment
from tests.cache.test_environments import LOCK
from tests.conftest import Envlock, ProjectFolder

SERIES = f"{sys.version_info.major}.{sys.version_info.minor}"
TEAM = 4242
"""A group that has no entry on this machine."""
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to other users and groups")


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with all of its folders, as envlock makes them."""
    place = tmp_path / "home of envlock"
    monkeypatch.setenv("ENVLOCK_HOME", str(place))
    monkeypatch.delenv(VARIABLE, raising=False)
    for folder in FOLDERS:
        folder_in_home(*filter(None, folder.split("/")))
    return place


@pytest.fixture
def open_to_all() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize(("user", "of_home"), [(0, 0o755), (4001, 0o700)])
@pytest.mark.usefixtures("open_to_all")
def test_a_home_is_its_users_alone_and_what_is_private_is_so_for_root_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, of_home: int
) -> None:
    """What root makes may be in an image that others run from."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.delenv(VARIABLE, raising=False)
    place = tmp_path / "home"
    make_folder(str(place / "conda" / "packages"), str(place))
    make_folder(str(place / "memo"), str(place), is_private=True)
    folders = {
        folder: stat.S_IMODE((place / folder).stat().st_mode) for folder in ("", "conda", "conda/packages", "memo")
    }
    assert folders == {"": of_home, "conda": 0o755, "conda/packages": 0o755, "memo": 0o700}


def reason_of(place: Path) -> str:
    with pytest.raises(UntrustedHome) as caught:
        home()
    assert caught.value.locations[0].path == str(place)
    return caught.value.details[0]


def of_a_team(place: Path, mode: int) -> None:
    """Root gives it to a group that is not root's own; a user, who cannot, to none."""
    if os.geteuid() == 0:
        os.chown(place, -1, TEAM)
    place.chmod(mode)


def belongs_to_another(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root gives it away; a user, who cannot, is another one from here on."""
    if os.geteuid() == 0:
        os.chown(place, 4001, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4001)


def test_a_home_of_ones_own(ours: Path) -> None:
    assert home() == ours
    assert folder_in_home("packages") == ours / "packages"


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_anybody_may_write_is_refused(ours: Path, folder: str) -> None:
    place = ours / folder
    place.chmod(0o757)
    assert reason_of(place) == "anybody on this machine may write it"
    place.chmod(0o1777)
    assert reason_of(place) == "anybody on this machine may write it"
    place.chmod(0o755)
    assert home() == ours


@pytest.mark.parametrize("folder", ["", "environments", "memo"])
def test_what_belongs_to_another_user_is_refused(ours: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    belongs_to_another(ours / folder, monkeypatch)
    # A user who is another one from here on finds the first folder in the way, the home.
    assert "belongs to" in reason_of(ours / folder if os.geteuid() == 0 else ours)


@AS_ROOT
def test_what_root_made_serves_everybody(ours: Path) -> None:
    """Such as an image that is built as root and run as somebody else."""
    os.seteuid(4001)
    try:
        assert [distrust(str(ours / folder)) for folder in FOLDERS] == [None] * len(FOLDERS)
    finally:
        os.seteuid(0)


@AS_ROOT
def test_a_link_is_as_trustworthy_as_what_it_leads_to(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(0o755)
    os.chown(theirs, 4001, -1)
    link = tmp_path / "link"
    link.symlink_to(theirs)
    monkeypatch.setenv("ENVLOCK_HOME", str(link))
    assert "belongs to user 4001" in reason_of(link)


class TestGroups:
    def test_a_group_of_several_may_not_write(self, ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        of_a_team(ours, 0o770)
        entry = grp.struct_group(("team", "x", ours.stat().st_gid, ["root", "mia"]))
        monkeypatch.setattr(grp, "getgrgid", lambda number: entry)
        assert reason_of(ours) == "the group team may write it"
        ours.chmod(0o755)
        assert home() == ours, "it may read"

    def test_a_users_own_group_may(self, ours: Path) -> None:
        """With an umask of 002, as Debian gives it, a user's files are open to a group that has nobody else in it."""
        ours.chmod(0o775)
        me = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(ours.stat().st_gid)
        is_alone = set(group.gr_mem) <= {me.pw_name, "root"} and {
            user.pw_name for user in pwd.getpwall() if user.pw_gid == group.gr_gid
        } <= {me.pw_name, "root"}
        assert (distrust(str(ours)) is None) is is_alone

    @AS_ROOT
    def test_roots_own_group_may(self, ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As images have it that are run as any user; `sync` and `halt` are in it on some systems."""
        entry = grp.struct_group(("root", "x", 0, ["halt", "sync"]))
        monkeypatch.setattr(grp, "getgrgid", lambda number: entry)
        os.chown(ours, 0, 0)
        ours.chmod(0o775)
        assert home() == ours

    def test_of_a_directory_that_does_not_list_this_user_nothing_is_taken_for_granted(
        self, ours: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        of_a_team(ours, 0o775)
        others = [user for user in pwd.getpwall() if user.pw_uid != os.geteuid()]
        for listed in ([], others):
            monkeypatch.setattr(pwd, "getpwall", lambda listed=listed: listed)
            assert "may write it" in reason_of(ours)

    @AS_ROOT
    def test_a_group_without_an_entry_has_nobody_else_in_it(self, ours: Path) -> None:
        """As the one that Kubernetes gives a volume to."""
        os.chown(ours, -1, TEAM)
        ours.chmod(0o2775)
        assert home() == ours


class TestSharedHomes:
    @pytest.fixture
    def shared(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A home that a team shares; the team is the group of this process where it may give files to no other."""
        place = tmp_path / "shared"
        place.mkdir(0o755)
        if os.geteuid() == 0:
            os.chown(place, -1, TEAM)
        place.chmod(0o2770)
        monkeypatch.setenv("ENVLOCK_HOME", str(place))
        monkeypatch.setenv(VARIABLE, str(place.stat().st_gid))
        return place

    @pytest.mark.parametrize("umask", [0, 0o002, 0o077])
    def test_what_is_made_is_as_open_as_the_home(self, shared: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            folder = folder_in_home("conda", "packages")
            make_once(shared / "environments" / "new", is_whole=lambda: False, build=lambda stage: None)
        finally:
            os.umask(before)
        team = shared.stat().st_gid
        assert [(stat.S_IMODE(each.stat().st_mode), each.stat().st_gid) for each in (folder, folder.parent)] == [
            (0o2770, team),
            (0o2770, team),
        ]
        prefix = (shared / "environments" / "new").stat()
        assert (prefix.st_mode & 0o072, prefix.st_gid) == (0o070 & 0o072, team)
        assert home() == shared

    def test_it_has_to_be_said(self, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        entry = grp.struct_group(("team", "x", shared.stat().st_gid, ["root", "mia"]))
        monkeypatch.setattr(grp, "getgrgid", lambda number: entry)
        monkeypatch.delenv(VARIABLE)
        assert reason_of(shared) == "the group team may write it"

    @pytest.mark.parametrize(
        ("mode", "reason"),
        [(0o770, "not set up for"), (0o771, "not set up for"), (0o2777, "anybody"), (0o2750, "not set up for")],
    )
    def test_it_has_to_be_made_for_it(self, shared: Path, mode: int, reason: str) -> None:
        shared.chmod(mode)
        assert reason in reason_of(shared)

    def test_the_group_has_to_be_known(self, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "no-such-team")
        assert reason_of(shared).endswith("no-such-team")

    @AS_ROOT
    def test_another_group_may_not_write(self, shared: Path) -> None:
        os.chown(shared, -1, TEAM + 1)
        shared.chmod(0o2770)
        assert f"the group {TEAM + 1} may write it" in reason_of(shared)

    @AS_ROOT
    def test_a_prefix_is_of_somebody_in_the_group(self, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        prefix = folder_in_home("environments") / "metaflow_1_2"
        prefix.mkdir(0o755)
        os.chown(prefix, 4001, TEAM)
        assert trusted(prefix) == prefix, "the group has no entry, and nobody else can give a file to it"
        os.chown(prefix, 4001, TEAM + 1)
        with pytest.raises(UntrustedHome):
            trusted(prefix)
        os.chown(prefix, 4001, TEAM)
        monkeypatch.setattr(grp, "getgrgid", lambda number: grp.struct_group(("team", "x", number, ["mia"])))
        for name, primary, is_trusted in (("mia", 1, True), ("ada", TEAM, True), ("eve", 1, False)):
            user = pwd.struct_passwd((name, "x", 4001, primary, "", "/", "/bin/sh"))
            monkeypatch.setattr(pwd, "getpwuid", lambda number, user=user: user)
            assert (distrust(str(prefix)) is None) is is_trusted, name


class TestPrefixes:
    @pytest.fixture
    def prefix(self, ours: Path) -> Path:
        place = folder_in_home("environments") / LOCK.prefix_name
        place.mkdir(0o755)
        write_receipt(place, Receipt(LOCK.req_id, LOCK.full_id, LOCK.arch, str(place / "python"), "3.11.7", (1, 2, 3)))
        return place

    def test_one_that_anybody_may_write_is_refused(self, prefix: Path) -> None:
        prefix.chmod(0o777)
        with pytest.raises(UntrustedHome) as caught:
            find_prefix(LOCK, prefix.parent.parent)
        assert caught.value.locations[0].path == str(prefix)

    def test_one_of_another_user_is_refused(self, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        belongs_to_another(prefix, monkeypatch)
        with pytest.raises(UntrustedHome):
            find_prefix(LOCK, prefix.parent.parent)

    @pytest.mark.parametrize("opened", ["environments/x", "memo", "environments", "", "named"])
    def test_a_memo_counts_only_where_nobody_else_may_write(self, ours: Path, opened: str) -> None:
        prefix = ours / "environments" / "x"
        prefix.mkdir(0o755)
        remember(("a", "b"), str(prefix), [str(ours / "nothing")], began=0)
        assert recall(("a", "b")) == str(prefix)
        (ours / opened).chmod(0o777)
        assert recall(("a", "b")) is None


@pytest.mark.usefixtures("open_to_all")
class TestOpenUmasks:
    """What is made with an umask of 0, as some containers have it, is closed to others all the same."""

    def test_an_environment_and_all_that_is_remembered(self, project: ProjectFolder, envlock: Envlock) -> None:
        project.write_env("alpha==1.1", python=SERIES)
        envlock("lock")
        prefix = Path(envlock("create").stdout.strip())
        envlock("path")
        place = Path(os.environ["ENVLOCK_HOME"])
        assert place in prefix.parents
        assert {path.name for path in place.iterdir()} >= {"environments", "packages", "interpreters.json"}
        reached = [place]
        for where, folders, files in os.walk(place):
            folders[:] = [name for name in folders if Path(where, name).stat().st_mode & 0o077]
            reached += [Path(where, name) for name in (*folders, *files)]
        # uv's own lock is open to all, and holds nothing.
        assert {path for path in reached if path.stat().st_mode & 0o022} <= {prefix / ".lock"}

    def test_the_umask_is_as_it_was_afterwards(self) -> None:
        first, second = threading.Event(), threading.Event()

        def overlap() -> None:
            with Closed():
                first.set()
                second.wait(10)

        thread = threading.Thread(target=overlap)
        thread.start()
        first.wait(10)
        with Closed():
            second.set()
            thread.join()
            assert os.umask(0o022) == 0o022
        assert os.umask(0) == 0


@pytest.mark.parametrize("variable", ["UV_CACHE_DIR", "XDG_CACHE_HOME", "HOME"])
def test_uv_unpacks_into_no_cache_that_others_may_write(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    below = {"UV_CACHE_DIR": "", "XDG_CACHE_HOME": "uv", "HOME": ".cache/uv"}
    for name in below:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "cache"))
    place = tmp_path / "cache" / below[variable]
    place.mkdir(0o755, parents=True)
    assert uv_environment().get("UV_CACHE_DIR") in {None, str(place)}
    place.chmod(0o777)
    assert uv_environment()["UV_CACHE_DIR"] == str(ours / "uv")


def test_every_command_says_it_and_names_the_folder(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES)
    envlock("lock")
    place = Path(os.environ["ENVLOCK_HOME"])
    place.mkdir(exist_ok=True)
    place.chmod(0o777)
    for command in (("run", "--", "true"), ("path",), ("create",)):
        ran = envlock(*command, check=2)
        assert "error[untrusted-home]" in ran.stderr
        assert str(place) in ran.stderr
    envlock("check")
