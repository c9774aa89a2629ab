"""The settings files of a machine and of a user, where they are and whether to believe them; all variables of envlock.

A settings file is TOML with one table, `[envlock]`, which has places and transports: `envlock.config.layers` reads it.
Only `home` is read here, because commands that know no project need it, and those that start fast cannot wait for a
parser. This imports `os` alone until there is such a file.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MACHINE_FILE = "/etc/envlock/config.toml"
CONFIG_VARIABLE = "ENVLOCK_CONFIG"
HOME_VARIABLE = "ENVLOCK_HOME"
DEFAULT_HOME = "~/.envlock"
_IN_HOME = ".config"

VARIABLES = {
    "ENVLOCK_CACHE": "the setting `cache`",
    "ENVLOCK_CACHE_OPTIONS": "the setting `cache-options`",
    "ENVLOCK_CHANNEL_MIRRORS": "the setting `channel-mirrors`",
    "ENVLOCK_IMAGE": "the setting `image`",
    "ENVLOCK_INDEX_MIRRORS": "the setting `index-mirrors`",
    "ENVLOCK_KEEP_ON_NODE": "the setting `keep-on-node`",
    "ENVLOCK_PACK": "the setting `pack`",
    "ENVLOCK_PUSH_ON_DEPLOY": "the setting `push-on-deploy`",
    "ENVLOCK_PYTHON_MIRROR": "the setting `python-mirror`",
    "ENVLOCK_USE_REMOTE_LATEST": "the setting `use-remote-latest`",
    HOME_VARIABLE: "envlock's folder on this machine",
    CONFIG_VARIABLE: "one more settings file, after the user's; `/dev/null` for none of all three",
    "ENVLOCK_HOME_GROUP": "the group that shares the home",
    "ENVLOCK_PYTHONS": "folders with interpreters, before those of PATH",
    "ENVLOCK_CONDA_EXE": "the conda, mamba or micromamba for conda-lock",
    "ENVLOCK_PREBUILT": "an environment or a home that an image brings",
    "ENVLOCK_SHELL": "set in `envlock shell`: the prefix",
    "ENVLOCK_SHELL_NAME": "set in `envlock shell`: what the prompt says",
    "ENVLOCK_PYTHON": "set in tasks: the interpreter that a task started with",
    "ENVLOCK_BUILD_FOLDER": "set in builds: the folder that a build may write",
}
"""Every variable that envlock reads or sets, with what it says. Those of settings are a table or a value as TOML has it
in `layers`. `ENVLOCK_INDEX_<HOST>_USERNAME` and `_PASSWORD` are the credentials of a host."""
_OF_HOSTS = ("ENVLOCK_INDEX_", "ENVLOCK_TESTS_")
_ALIKE = 0.8


def settings_files() -> tuple[tuple[str, str], ...]:
    """The settings files beside a project, as `(kind, path)`, whether they are there or not. The last wins.

    `machine file` is /etc/envlock/config.toml, `user file` is envlock/config.toml in $XDG_CONFIG_HOME or ~/.config.
    ENVLOCK_CONFIG names one more; if it is /dev/null, none counts.
    """
    chosen = os.environ.get(CONFIG_VARIABLE, "")
    if chosen == os.devnull:
        return ()
    found = [("machine file", MACHINE_FILE)]
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):  # the specification ignores a relative one
        folder = os.path.join(os.path.expanduser("~"), _IN_HOME)
    if os.path.isabs(folder):
        found.append(("user file", os.path.join(folder, "envlock", "config.toml")))
    if chosen:
        found.append((CONFIG_VARIABLE, os.path.abspath(os.path.expanduser(chosen))))
    return tuple(found)


def read_settings(kind: str, path: str) -> bytes | None:
    """The bytes of a settings file; None if it is not there. Costs one `stat` then.

    In a folder that this user may not look into, there is none: in containers, HOME is often root's. Raises
    UntrustedSettings if somebody else may have written it, and UnreadableConfig.
    """
    from envlock.trust import distrust

    try:
        folder = os.stat(os.path.dirname(path))
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if kind != CONFIG_VARIABLE:
            return None
        is_there = isinstance(error, PermissionError)
        why = error.strerror or "" if is_there else f"{CONFIG_VARIABLE} names it, and it is not there"
        raise _unreadable(path, why) from None
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    is_sticky = folder.st_mode & 0o1000  # as /tmp: others may write there, but replace no file of another user
    for place in (path, *(() if is_sticky else (os.path.dirname(path),))):
        found = distrust(place)
        if found is not None:
            from envlock.places import UntrustedSettings

            raise UntrustedSettings(place, *found)
    from envlock.files import CONFIG_BYTES, read_file

    try:
        return read_file(path, CONFIG_BYTES)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None


def _unreadable(path: str, reason: str) -> Exception:
    from envlock.places import UnreadableConfig

    return UnreadableConfig(path, reason)


def chosen_home() -> str:
    """The home that ENVLOCK_HOME names, or else the last settings file with a `home`, or else DEFAULT_HOME.

    It may begin with `~`. `${VARIABLE}`s in a file are filled in; a relative path begins in the folder of the file.
    Raises as `read_settings`, and UnsetVariable.
    """
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return chosen
    for kind, path in reversed(settings_files()):
        data = read_settings(kind, path)
        try:
            written = _home_in(data) if data is not None and b"home" in data else ""
        except ValueError as error:
            raise _unreadable(path, str(error)) from None
        if written:
            if "${" in written:
                from envlock.addresses import with_variables

                written = with_variables(written)
            return os.path.join(os.path.dirname(path), os.path.expanduser(written))
    return DEFAULT_HOME


def _home_in(data: bytes) -> str:
    r"""What a file says of `home`; empty if it says nothing. Raises ValueError.

    >>> _home_in(b'[envlock]\ncache = "x"\nhome = "/data/envlock"  # big\n')
    '/data/envlock'
    >>> _home_in(b'[envlock.cache-options]\nhome = "/x"\n'), _home_in(b'envlock.home = "/data"')
    ('', '/data')
    >>> _home_in('[envlock]\n# a separator of lines:\u2028home = "/x"\n'.encode())
    ''
    """
    text = data.decode("utf-8", "replace")
    is_plain = '"""' not in text and "'''" not in text and "\\" not in text
    table = ""
    for line in text.split("\n") if is_plain else ():  # as TOML counts lines
        key, _, value = line.partition("=")
        key = key.strip()
        if key.startswith("["):
            table = key.partition("#")[0].strip()
        elif table == "[envlock]" and key == "home":
            value = value.strip()
            end = value.find('"', 1)
            if value.startswith('"') and (value[end + 1 :].strip() or "#").startswith("#") and end > 0:
                return value[1:end]
            break
    else:
        if is_plain and "home" not in {part.strip("\"' \t") for part in _keys(text)}:
            return ""
    import tomli

    from envlock.files import toml_of

    try:
        found = toml_of(text).get("envlock")
    except tomli.TOMLDecodeError as error:
        raise ValueError(f"it is not valid TOML (line {error.lineno})") from None
    home = found.get("home", "") if isinstance(found, dict) else ""
    if not isinstance(home, str):
        raise ValueError("`home` is a string: the path of a folder")
    return home


def _keys(text: str) -> Iterator[str]:
    """Whatever may be a key: the text before each `=`, and behind the last of `.`, `{` or `,` in it."""
    for part in text.replace("\n", "=").split("="):
        yield part.replace("{", ".").replace(",", ".").rpartition(".")[2]


def misspelt(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Each variable that is almost one of envlock's, with the name that it is like.

    >>> misspelt({"ENVLOCK_CAHCE": "s3://team/envlock", "ENVLOCK_TEAM": "x", "PATH": ""})
    (('ENVLOCK_CAHCE', 'ENVLOCK_CACHE'),)

    A variable of the user's own may be called ENVLOCK_ and anything else.
    """
    unknown = [name for name in environment if name.startswith("ENVLOCK_") and name not in VARIABLES]
    unknown = [name for name in unknown if not name.startswith(_OF_HOSTS)]
    if not unknown:
        return ()
    from envlock.words import nearest

    found = ((name, nearest(name, tuple(VARIABLES), _ALIKE)) for name in sorted(unknown))
    return tuple((name, right) for name, right in found if right)
