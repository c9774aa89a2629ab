"""Who may write into envlock's home: envlock runs nothing, and believes nothing, that others may have written.

A home contains environments and interpreters, which are run, and memos, which say where they are. So envlock refuses
the home, a folder in it, or a prefix that belongs to another user (except root), or that others may write. What it
makes there is closed to others, whatever the umask.

Several people share a home only on purpose: ENVLOCK_HOME_GROUP names their group, which may write, and whose members
may own what is in it. This imports `os` alone, for the commands that start fast.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

VARIABLE = "ENVLOCK_HOME_GROUP"
FOLDERS = (
    *("", "environments", "environments/.stages", "pythons", "packages", "conda", "conda/packages"),
    *(
        "conda/distributions",
        "conda/repodata",
        "memo",
        "named",
        "remembered",
        "bytecode",
        "compiled",
        "hashed",
        "pip-tools",
        "uv",
    ),
    *("kept", "kernels", "licenses", "projects", "sizes"),
    *("builds", "builds/environments", "builds/work", "builds/wheels", "builds/logs"),
)
"""The folders of a home that are checked whenever the home is looked up; a prefix is checked when it is found."""
_ROOT = 0
_OTHERS, _GROUP, _KEEPS_GROUP = 0o002, 0o020, 0o2000


ANYBODY, BY_GROUP, OF_OTHER, NOT_SET_UP, NO_GROUP = "anybody", "by-group", "of-other", "not-set-up", "no-group"
"""Why somebody else may have written something: kinds, each with the name of the user or group, if there is one."""


def distrust(path: str) -> tuple[str, str] | None:
    """Why somebody else may have written what is at `path`: the kind, and who. Costs one `stat`.

    None if nobody else may, or nothing is there.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    try:
        group = shared_by()
    except KeyError as error:
        return NO_GROUP, str(error.args[0])
    if found.st_mode & _OTHERS:
        return ANYBODY, ""
    is_of_group = group is not None and found.st_gid == group
    if found.st_mode & _GROUP and not is_of_group and (group is not None or not _is_mine_alone(found.st_gid)):
        return BY_GROUP, _group_name(found.st_gid)
    if found.st_uid in {os.geteuid(), _ROOT} or (is_of_group and _is_member(found.st_uid, found.st_gid)):
        return None
    return OF_OTHER, user_name(found.st_uid)


def distrust_home(home: str) -> tuple[str, str, str] | None:
    """The first folder of a home that cannot be trusted, and why, as `distrust`; None if there is none."""
    for folder in FOLDERS:
        path = os.path.join(home, folder) if folder else home
        found = distrust(path)
        if found is not None:
            return (path, *found)
    if os.environ.get(VARIABLE) and os.path.isdir(home):
        mode = os.stat(home).st_mode
        if not (mode & _GROUP and mode & _KEEPS_GROUP):
            return home, NOT_SET_UP, ""
    return None


def shared_by() -> int | None:
    """The number of the group that shares the home; None if one user owns it. Raises KeyError."""
    chosen = os.environ.get(VARIABLE, "")
    if not chosen or chosen.isdecimal():
        return int(chosen) if chosen else None
    import grp

    try:
        return grp.getgrnam(chosen).gr_gid
    except (KeyError, ValueError):
        raise KeyError(chosen) from None


def make_folder(path: str, home: str, *, is_private: bool = False) -> None:
    """Make a folder of the home, and its parents, so that nobody else may write there. Raises OSError.

    Nobody else may read it either if it `is_private` or is the home itself, unless root owns the home: it may be in an
    image that others run from. In a shared home, it gets the home's mode and group.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        make_folder(parent, home)
    is_private = is_private or (path == home and os.geteuid() != _ROOT)
    try:
        os.mkdir(path, 0o700 if is_private else 0o755)
    except FileExistsError:
        return
    if os.environ.get(VARIABLE) and path.startswith(f"{home}/"):
        above = os.stat(home)
        os.chmod(path, above.st_mode & 0o7777)


class Closed:
    """Within its `with`, what this process makes is closed to others, or in a shared home open to the group only.

    Several threads may be in it at once.
    """

    _guard = allocate_lock()
    _inside = 0
    _umask = 0

    def __enter__(self) -> None:
        with self._guard:
            if not Closed._inside:
                Closed._umask = os.umask(0o022)
                os.umask(0o002 if os.environ.get(VARIABLE) else Closed._umask | 0o022)
            Closed._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            Closed._inside -= 1
            if not Closed._inside:
                os.umask(Closed._umask)


def _is_mine_alone(group: int) -> bool:
    """Whether only this user, and root, are in a group: such as the one named after the user.

    Root's own group counts as root: its other members are accounts of the system, and users of containers.
    """
    if group == _ROOT:
        return True
    import grp
    import pwd

    try:
        members = set(grp.getgrgid(group).gr_mem)
    except KeyError:
        members = set()
    everybody = pwd.getpwall()
    members |= {user.pw_name for user in everybody if user.pw_gid == group}
    try:
        me = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return members <= {"root"}
    # If a directory service does not list its users, nobody can tell who is in a group.
    return members <= {"root", me} and any(user.pw_name == me for user in everybody)


def _is_member(user: int, group: int) -> bool:
    """Whether the owner of a file is in its group. A group without an entry here is trusted."""
    import grp
    import pwd

    try:
        members = grp.getgrgid(group).gr_mem
    except KeyError:
        return True
    try:
        owner = pwd.getpwuid(user)
    except KeyError:
        return False
    return owner.pw_gid == group or owner.pw_name in members


def user_name(number: int) -> str:
    """The name of a user; its number if it has none here."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _group_name(number: int) -> str:
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
