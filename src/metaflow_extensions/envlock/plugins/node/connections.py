"""HTTP by the standard library, for the few requests of a node: connections that are kept, TLS, proxies.

A request is sent once, and no redirect is followed: what signs a request signs it for one host.
"""

from __future__ import annotations

import base64
import http.client
import os
import select
import threading
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union
from urllib.parse import unquote, urlsplit

CONNECT_SECONDS = 5
KEPT = 16
"""Connections that are kept open, to all hosts together."""
_LONGEST_ANSWER = 16 << 20
_OF_LIBRARIES = ("certifi", "pip/_vendor/certifi", "botocore")

Failures = (OSError, http.client.HTTPException)
"""What a request raises if it has no answer, and reading an answer that breaks off."""


class Untrusted(Exception):
    """There are no certificates on this machine by which a server could be trusted."""


class Cut(ConnectionError):
    """An answer ended before its end."""


class Text(NamedTuple):
    """A short answer, read."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes


class Answer:
    """An answer whose body is still on its way. Close it: only then can another request use the connection."""

    def __init__(self, response: Any, connection: Any, give_back: Any) -> None:
        self.status = int(response.status)
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self._response = response
        self._connection = connection
        self._give_back = give_back

    def read(self, size: int) -> bytes:
        """Some more of the body, at most `size` bytes; nothing at its end. Raises Failures."""
        piece = self._response.read(size)
        if not piece and self._response.length:
            raise Cut
        return bytes(piece)

    def text(self) -> Text:
        """All of it, if it is short. Raises Failures."""
        with self:
            pieces = []
            size = 0
            while size <= _LONGEST_ANSWER:
                piece = self.read(1 << 16)
                if not piece:
                    break
                pieces.append(piece)
                size += len(piece)
            return Text(self.status, self.headers, b"".join(pieces))

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._response.isclosed() and not self._response.will_close:
            self._give_back(self._connection)
        else:
            self._response.close()
            self._connection.close()


class Connections:
    """Connections to servers. Any thread may send requests.

    `seconds` is how long a server may be silent. `certificates` is a file or a folder, None for those that this machine
    trusts, False for no verification. `proxies` are by scheme, as in the variables of the environment.
    """

    def __init__(
        self, seconds: float, certificates: Union[str, bool, None] = None, proxies: Optional[Mapping[str, str]] = None
    ) -> None:
        self._seconds = seconds
        self._certificates = certificates
        self._proxies = dict(proxies or {})
        self._context: Any = None
        self._guard = threading.Lock()
        self._kept: List[Tuple[Tuple[str, str], Any]] = []

    def close(self) -> None:
        """Close the connections that are kept; others are, once their answers are."""
        with self._guard:
            kept, self._kept = self._kept, []
        for _, connection in kept:
            connection.close()

    def __del__(self) -> None:
        self.close()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Send a request. Raises Failures, ValueError for what is no URL, and Untrusted."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("no URL of a server")
        proxy = self._proxy_of(parts.scheme, parts.netloc)
        place = (parts.scheme, parts.netloc)
        target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        given = {"Host": parts.netloc, "Accept-Encoding": "identity", **headers}
        if proxy is not None and parts.scheme == "http":
            target = "http://%s%s" % (parts.netloc, target)
            given.update(_of_proxy(proxy))
        if body or method in ("PUT", "POST"):
            given["Content-Length"] = str(len(body))
        while True:
            connection = self._take(place)
            is_kept = connection is not None
            try:
                if connection is None:
                    connection = self._connect(parts, proxy)
                connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
                for name, value in given.items():
                    connection.putheader(name, value)
                connection.endheaders(body or None)
                return Answer(connection.getresponse(), connection, lambda it: self._keep(place, it))
            except Failures as failure:
                if connection is not None:
                    connection.close()
                # The server may have ended a connection that was kept while this was on its way.
                if not (is_kept and isinstance(failure, ConnectionError)):
                    raise

    def _connect(self, parts: Any, proxy: Any) -> Any:
        # The library limits connecting and each answer by the same time.
        patience = min(CONNECT_SECONDS, self._seconds)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host, at = (parts.hostname, port) if proxy is None else (proxy.hostname, proxy.port or 80)
        if parts.scheme == "https":
            connection: Any = http.client.HTTPSConnection(host, at, timeout=patience, context=self._trusted())
            if proxy is not None:
                connection.set_tunnel(parts.hostname, port, _of_proxy(proxy))
        else:
            connection = http.client.HTTPConnection(host, at, timeout=patience)
        connection.connect()
        connection.sock.settimeout(self._seconds)
        return connection

    def _take(self, place: Tuple[str, str]) -> Any:
        """A kept connection to a server, if there is one that the server has not ended."""
        while True:
            with self._guard:
                found = next((each for each in reversed(self._kept) if each[0] == place), None)
                if found is None:
                    return None
                self._kept.remove(found)
            connection = found[1]
            if connection.sock is not None and not _is_readable(connection.sock):
                return connection
            connection.close()

    def _keep(self, place: Tuple[str, str], connection: Any) -> None:
        with self._guard:
            self._kept.append((place, connection))
            dropped = self._kept.pop(0)[1] if len(self._kept) > KEPT else None
        if dropped is not None:
            dropped.close()

    def _trusted(self) -> Any:
        with self._guard:
            if self._context is None:
                self._context = _context(self._certificates)
            return self._context

    def _proxy_of(self, scheme: str, netloc: str) -> Any:
        url = self._proxies.get(scheme) or self._proxies.get("all")
        if not url:
            return None
        from urllib.request import proxy_bypass_environment  # imports much: only where there is a proxy

        if proxy_bypass_environment(netloc, self._proxies):
            return None
        return urlsplit(url if "://" in url else "http://" + url)


def proxies_of(environ: Mapping[str, str]) -> Dict[str, str]:
    """The proxies that variables name, by scheme; `no` has the hosts that are reached without one.

    >>> proxies_of({"NO_PROXY": "s3.example", "https_proxy": "http://proxy.example:3128", "PATH": "/bin"})
    {'no': 's3.example', 'https': 'http://proxy.example:3128'}
    """
    found = {}
    for is_lower in (False, True):  # as everywhere, the name in lower case counts
        for name, value in environ.items():
            if name.lower().endswith("_proxy") and value and (name == name.lower()) is is_lower:
                found[name.lower()[: -len("_proxy")]] = value
    if "REQUEST_METHOD" in environ:  # in a CGI program, `HTTP_PROXY` is a header of a request
        found.pop("http", None)
    return found


def _of_proxy(proxy: Any) -> Dict[str, str]:
    if proxy.username is None:
        return {}
    login = "%s:%s" % (unquote(proxy.username), unquote(proxy.password or ""))
    return {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def _is_readable(sock: Any) -> bool:
    """Whether a server has sent something that nobody asked for, which is how it ends a connection."""
    try:
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([sock], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def _context(certificates: Union[str, bool, None]) -> Any:
    import ssl

    if certificates is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if isinstance(certificates, str) and certificates:
        is_folder = os.path.isdir(certificates)
        return ssl.create_default_context(
            cafile=None if is_folder else certificates, capath=certificates if is_folder else None
        )
    places = ssl.get_default_verify_paths()
    if places.cafile or (places.capath and os.listdir(places.capath)):
        return ssl.create_default_context()
    import sys

    # An image may have none of its own, and only those that a Python package brings.
    for folder in sys.path:
        for library in _OF_LIBRARIES:
            path = os.path.join(folder, library, "cacert.pem")
            if os.path.isfile(path):
                return ssl.create_default_context(cafile=path)
    raise Untrusted
