"""Credentials for a host: from the URL in envlock.toml, netrc, or the environment. Read when needed, stored nowhere.

Imported only when needed: most commands need no credentials.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from envlock.addresses import UnsetVariable, address, place_of
from envlock.errors import ConfigError
from envlock.files import json_of
from envlock.model.url import host, strip_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from netrc import netrc


class UnreadableCredentials(ConfigError):
    """A file of credentials cannot be read. Its contents are never shown."""

    message = "cannot read {path}: {reason}"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path=path, reason=reason)


class BadNetrc(UnreadableCredentials):
    """The netrc file cannot be read."""

    code = "bad-netrc"
    hint = "fix the file, or set NETRC to another one"


class BadAuthFile(UnreadableCredentials):
    """The file with the credentials of conda's tools cannot be read."""

    code = "bad-auth-file"
    hint = "fix the file, or set RATTLER_AUTH_FILE to another one"


class Credential(NamedTuple):
    """A user name and a password; either may be empty, not both."""

    username: str
    password: str

    def __repr__(self) -> str:
        """Names no secret, so that none can reach a log or a traceback."""
        return "Credential(...)"


def credentials_for(url: str, environment: Mapping[str, str] | None = None) -> Credential | None:
    """The credentials for a URL of envlock.toml: its own, else those of netrc, else those of the environment.

    `${VARIABLE}` in the user name or the password is replaced by its value; the rest is percent-decoded.

    >>> credentials_for("https://me:p%40ss@index.example/simple/", {}).password
    'p@ss'
    >>> credentials_for("https://me:${PASSWORD}@index.example/simple/", {"PASSWORD": "p%40ss"}).password
    'p%40ss'
    >>> variables = {"ENVLOCK_INDEX_INDEX_EXAMPLE_USERNAME": "me", "ENVLOCK_INDEX_INDEX_EXAMPLE_PASSWORD": "pw"}
    >>> credentials_for("https://index.example/simple/", {"NETRC": "/dev/null", **variables}).username
    'me'

    Raises UnsetVariable and BadNetrc.
    """
    return Credentials([url], environment).for_url(url)


class Credentials:
    """The credentials for the hosts of these index URLs, and for others."""

    def __init__(self, index_urls: Iterable[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self._index_urls = tuple(dict.fromkeys(index_urls))
        self._environment = os.environ if environment is None else environment
        self._netrc: netrc | None = None

    def for_url(self, url: str) -> Credential | None:
        """The credentials that may be sent to `url`; none that belong to another host, port or scheme.

        Of several index URLs of one host, the one with the longest common path is used. Raises UnsetVariable and
        BadNetrc.
        """
        if not host(url):
            return None
        own = self._from_index_urls(url)
        if own is not None and own.password:
            return own
        other = (self._from_netrc(url) or self._from_environment(url)) if self._may_be_told(url) else None
        if own is not None and (other is None or other.username != own.username):
            return own
        return other

    def authorization(self, url: str) -> str | None:
        """The `Authorization` header for `url`, if there are credentials: those of `for_url`, else of conda's tools.

        Conda's tools (`RATTLER_AUTH_FILE`, else `~/.rattler/credentials.json`) may have a bearer token for a host.
        Raises what `for_url` raises, and BadAuthFile.

        >>> Credentials(["https://me:pw@index.example/simple/"], {}).authorization("https://index.example/a.whl")
        'Basic bWU6cHc='
        """
        found = self.for_url(url)
        if found is None and host(url) and self._may_be_told(url):
            entry = self._from_rattler(url)
            if isinstance(entry, str):
                return f"Bearer {entry}"
            found = entry
        if found is None:
            return None
        from base64 import b64encode

        return "Basic " + b64encode(f"{found.username}:{found.password}".encode()).decode()

    def sources(self, url: str) -> tuple[str, ...]:
        """The names of what has credentials for `url`: variables and files, never a value.

        Raises UnsetVariable, BadNetrc, BadAuthFile.

        >>> variables = {"PASSWORD": "secret", "NETRC": "/dev/null"}
        >>> url = "https://me:${PASSWORD}@index.example/simple/"
        >>> Credentials([url], variables).sources(url)
        ('PASSWORD',)
        """
        self.for_url(url)  # raises for a variable that is not set
        names = [name for name in re.findall(r"\$\{([^}]*)\}", _userinfo(url)) if name in self._environment]
        if self._from_netrc(url) is not None:
            names.append(self._environment.get("NETRC") or "~/.netrc")
        names += [name for name in _variables_of(url) if name in self._environment]
        if self._from_rattler(url) is not None:
            names.append(self._environment.get("RATTLER_AUTH_FILE") or "~/.rattler/credentials.json")
        return tuple(names)

    def _may_be_told(self, url: str) -> bool:
        """Whether credentials of a host may be sent: encrypted, or to an index of envlock.toml."""
        return url.lower().startswith("https://") or any(
            place_of(index) == place_of(url) for index in self._filled_in(url)
        )

    def _from_index_urls(self, url: str) -> Credential | None:
        same = [index for index in self._filled_in(url) if place_of(index) == place_of(url) and _userinfo(index)]
        if not same:
            return None
        path = strip_credentials(url)
        best = max(same, key=lambda index: len(os.path.commonpath([strip_credentials(index), path])))
        username, _, password = _userinfo(best).partition(":")
        return Credential(unquote(username), unquote(password))

    def _filled_in(self, url: str) -> Iterator[str]:
        """The index URLs that may be of the host of `url`, with their variables filled in.

        An index whose host is a variable that is not set is of no host.
        """
        for index in self._index_urls:
            place = strip_credentials(index).partition("://")[2].partition("/")[0]
            is_open = "${" in place or "://" not in index
            if not is_open and place_of(index) != place_of(url):
                continue
            try:
                yield address(index, self._environment, fits=lambda _: True).url
            except UnsetVariable:
                if not is_open:
                    raise

    def _from_netrc(self, url: str) -> Credential | None:
        if self._netrc is None:
            self._netrc = _read_netrc(self._environment)
        # An entry for the host itself: `default` would send a password to whatever host a lock or a redirect names.
        entry = self._netrc.hosts.get(host(url))
        return Credential(entry[0], entry[2]) if entry is not None and (entry[0] or entry[2]) else None

    def _from_rattler(self, url: str) -> Credential | str | None:
        """A bearer token, or a user name and password, from rattler's file, which has them by host."""
        entry = _read_auth_file(self._environment).get(host(url))
        if not isinstance(entry, dict):
            return None
        bearer, basic = entry.get("BearerToken"), entry.get("BasicHTTP")
        if isinstance(bearer, str):
            return bearer
        if isinstance(basic, dict):
            return Credential(str(basic.get("username", "")), str(basic.get("password", "")))
        return None

    def _from_environment(self, url: str) -> Credential | None:
        names = _variables_of(url)
        values = [self._environment.get(name) for name in names]
        if values == [None, None]:
            return None
        for name, value, other in zip(names, values, reversed(names), strict=True):
            if value is None:
                raise UnsetVariable(name, f"{host(url)}, for which {other} is set")
        return Credential(values[0] or "", values[1] or "")


def _read_netrc(environment: Mapping[str, str]) -> netrc:
    from netrc import NetrcParseError, netrc

    chosen = environment.get("NETRC")
    path = Path(chosen or f"{environment.get('HOME') or os.path.expanduser('~')}/.netrc")  # noqa: PTH111  never raises
    try:
        return netrc(path)
    except (FileNotFoundError, NotADirectoryError):
        return netrc(os.devnull)
    except NetrcParseError as error:
        # Not in its own words: in some releases, these quote the file.
        raise BadNetrc(str(path), f"line {error.lineno} is not valid netrc") from None
    except UnicodeDecodeError:
        raise BadNetrc(str(path), "it is not text") from None
    except OSError as error:
        raise BadNetrc(str(path), error.strerror or type(error).__name__) from None


def _read_auth_file(environment: Mapping[str, str]) -> dict[str, object]:
    """The entries of conda's tools by host, without its port; empty if there is no such file."""
    chosen = environment.get("RATTLER_AUTH_FILE")
    home = environment.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  never raises
    path = Path(chosen or f"{home}/.rattler/credentials.json")
    try:
        found = json_of(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise BadAuthFile(str(path), error.strerror or type(error).__name__) from None
    except ValueError:
        raise BadAuthFile(str(path), "it is not JSON") from None
    if not isinstance(found, dict):
        raise BadAuthFile(str(path), "it is not a JSON object of hosts")
    return found


def has_password(url: str) -> bool:
    """Whether a password itself is written in a URL, and not a variable that has it.

    >>> has_password("https://me:secret@index.example/"), has_password("https://me:${PASSWORD}@index.example/")
    (True, False)
    """
    password = _userinfo(url).partition(":")[2]
    return bool(password) and "${" not in password


def _variables_of(url: str) -> tuple[str, str]:
    """The variables that have the user name and the password for the host of a URL."""
    stem = "ENVLOCK_INDEX_" + re.sub(r"[^A-Z0-9]", "_", host(url).upper())
    return f"{stem}_USERNAME", f"{stem}_PASSWORD"


def _userinfo(url: str) -> str:
    """User name and password, as written."""
    authority = url.partition("://")[2].partition("/")[0]
    return authority.rpartition("@")[0]
