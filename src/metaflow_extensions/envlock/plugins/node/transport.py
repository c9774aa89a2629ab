"""The way from a node to its cache: a bucket, by the client that Metaflow itself has for it.

The clients (`clients`) send a request once and do not wait. Here is what all of them share: which failures are worth
another attempt, pauses that no two nodes share, one deadline for all, and errors that say what to do and hold no
secret.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from typing import Any, Callable, List, Mapping, NamedTuple, Optional, TypeVar

from .errors import Damaged, Misconfigured, Missing, NodeError
from .manifest import Manifest

SECONDS = 1800.0
"""How long all requests of a task's start may take together."""
ATTEMPTS = 6
"""How often a request is sent if the cache does not answer: neither this one nor another one of this node meanwhile."""
BUSY_SECONDS = 600.0
"""How long the cache may refuse all that this node asks for, because it gets too many requests.

A number of attempts would not do: where 10,000 nodes share 5,500 answers a second, one request in 25 is refused ten
times, and each node makes a hundred."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 20.0
LONGEST_ASKED = 60.0
"""How long a pause can be because the cache asks for it."""
CHANCE = random.Random()  # noqa: S311  no secret hangs on it
"""What pauses are drawn from, in envlock too. Not the shared generator of `random`: a program that seeds that draws the
same numbers with and without envlock."""

_T = TypeVar("_T")

_REFUSED_CREDENTIALS = (
    "ExpiredToken",
    "InvalidToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AuthorizationHeaderMalformed",
    "RequestExpired",
)
_BUSY = ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "ServerBusy")
_NO_BUCKETS = ("NoSuchBucket", "ContainerNotFound")

# What went wrong with a request, in the words of no particular service.
CUT, THROTTLED, FORBIDDEN, GONE, NO_BUCKET, SHORT, REFUSED = range(7)


class Fault(NamedTuple):
    """What an exception of a client means."""

    kind: int
    reason: str
    """For a message: no text of the service, which could hold secrets."""
    after: float = 0.0
    """The seconds after which the service asks to come back; 0 if it does not say."""


class Listed(NamedTuple):
    """An object in a listing."""

    path: str
    modified: float
    """When it was written, in seconds since 1970."""


class Unreachable(NodeError):
    """The cache does not answer, or breaks off each time."""


class Stopped(Unreachable):
    """The requests were ended from here: never why a task fails, always what followed from that."""


class Throttled(NodeError):
    """The cache answers so many requests that it refuses ours."""


class Forbidden(Misconfigured):
    """The cache does not let this node do that."""


class NotThere(Missing):
    """The cache does not have an object."""


class Transport:
    """One cache. Any thread may call any method; nothing is imported or sent before the first call.

    `open_client` makes a client (see `clients`). Every method raises Unreachable, Throttled, Forbidden, Misconfigured.
    """

    def __init__(self, url: str, open_client: Callable[[], Any]) -> None:
        self.url = url
        self.waiting: Callable[[str], None] = str
        """Called with the reason before each pause, in whatever thread."""
        self._open = open_client
        self._client: Any = None
        self._deadline = 0.0
        self._came = 0.0
        """When something last came of any request."""
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        """Notified when an answer is there, and when all is stopped."""

    def get(self, path: str, write: Callable[[bytes], None], start: int = 0, end: Optional[int] = None) -> None:
        """Write an object's bytes from `start` up to `end`, or to its end, piece by piece, and in order.

        A connection that is cut is taken up from where it was. What `write` raises ends it. Raises NotThere, and
        Damaged if the object has no byte at `start`.
        """
        moved = start
        writing = threading.Lock()
        is_over = False

        def take(piece: bytes) -> None:
            nonlocal moved
            with writing:
                self._check_time()
                if is_over:
                    raise Unreachable("nobody waits for %s any more" % path)
                write(piece)
                moved += len(piece)
                self._came = time.monotonic()

        def request(client: Any) -> None:
            if moved != end:
                client.get(path, moved, end, take)

        try:
            self._request(request, path, lambda: moved)
        finally:
            with writing:  # a request that was left to itself writes nothing from here on
                is_over = True

    def read(self, path: str, limit: int) -> bytes:
        """An object. Raises NotThere, and Damaged if it is longer than `limit`."""
        pieces: List[bytes] = []
        size = 0

        def take(piece: bytes) -> None:
            nonlocal size
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise Damaged("%s/%s is too long to be what its name says; it was not used" % (self.url, path))

        self.get(path, take)
        return b"".join(pieces)

    def list(self, folder: str) -> List[Listed]:
        """The objects in a folder and in those below it."""
        return self._request(lambda client: client.list(folder), folder)

    def put_new(self, path: str, data: bytes, attempts: Optional[int] = None) -> bool:
        """Make an object, unless there is one of that name. Whether it was made. Tries so many times at most."""
        return bool(self._request(lambda client: client.put_new(path, data), path, attempts=attempts))

    def stop(self) -> None:
        """End all requests soon, in other threads too: they raise Stopped. Nothing can be requested afterwards."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def _request(
        self,
        request: Callable[[Any], _T],
        path: str,
        progress: Callable[[], int] = lambda: 0,
        attempts: Optional[int] = None,
    ) -> _T:
        client = self._opened()
        tried = refused = cut = 0
        began, done, came = time.monotonic(), progress(), self._came
        while True:
            self._check_time()
            try:
                result = self._answer(lambda: request(client))
                self._came = time.monotonic()
                return result
            except client.raises as error:
                fault = client.fault(error)
            if progress() != done:
                done, refused = progress(), 0
            if self._came != came or fault.kind != CUT:  # it does answer
                came, cut = self._came, 0
            tried, refused, cut = tried + 1, refused + 1, cut + 1
            busy = time.monotonic() - max(began, self._came)
            if _is_given_up(fault, cut, busy) or (attempts is not None and (tried >= attempts or fault.after)):
                raise self._error(fault, path, tried)
            self.waiting(fault.reason)
            self._stopped.wait(min(pause(refused, fault.after), max(0.0, self._deadline - time.monotonic())))

    def _answer(self, request: Callable[[], _T]) -> _T:
        """What a request returns or raises, if it does before the deadline.

        It has a thread of its own, which is left to itself at the deadline: the libraries limit how long a server is
        silent, and one that sends a byte now and then would keep them reading for days.
        """
        answers: List[_T] = []
        errors: List[BaseException] = []

        def work() -> None:
            try:
                answers.append(request())
            except BaseException as error:  # noqa: BLE001  raised again in the thread that waits
                errors.append(error)
            with self._changed:
                self._changed.notify_all()

        threading.Thread(target=work, daemon=True).start()
        with self._changed:
            while not answers and not errors:
                self._check_time()
                self._changed.wait(max(0.0, self._deadline - time.monotonic()))
        try:
            if errors:
                raise errors[0]
            return answers[0]
        finally:
            errors.clear()  # else an error and this frame hold each other, and connections with them

    def _opened(self) -> Any:
        with self._guard:
            if self._client is None:
                self._came = time.monotonic()
                self._deadline = self._came + SECONDS
                try:
                    self._client = self._open()
                except NodeError:
                    raise
                except Exception as error:  # noqa: BLE001  its library, and Metaflow's settings, may raise anything
                    text = "the client of the cache %s cannot be made (%s): look at [envlock.cache-options]"
                    raise Misconfigured(text % (self.url, type(error).__name__)) from None
            return self._client

    def _check_time(self) -> None:
        if self._stopped.is_set():
            raise Stopped("the requests to %s were stopped" % self.url)
        if time.monotonic() >= self._deadline:
            raise Unreachable(
                "the cache %s is too slow: it was not done after %d minutes; look at the network of this node"
                % (self.url, SECONDS // 60)
            )

    def _error(self, fault: Fault, path: str, attempts: int) -> NodeError:
        where = (self.url, fault.reason)
        if fault.kind == CUT:
            text = "the cache %s cannot be reached (%s, %d attempts): look at its endpoint and the network of this node"
            return Unreachable(text % (*where, attempts))
        if fault.kind == THROTTLED:
            text = "the cache %s answers too many requests (%s, %d attempts): start the task again later"
            return Throttled(text % (*where, attempts))
        if fault.kind == FORBIDDEN:
            text = "the cache %s refused access (%s): let this node's role or credentials read it"
            return Forbidden(text % where)
        if fault.kind == GONE:
            # A push after an update of uv brings another kit, and a plan that names it.
            then = " and deploy the flow again" if path.startswith("kits/") else ", then start the task again"
            return NotThere("the cache %s does not have %s: run `envlock push`%s" % (self.url, path, then))
        if fault.kind == NO_BUCKET:
            return Misconfigured(
                "the bucket of the cache %s does not exist (%s): correct `cache` in envlock.toml" % where
            )
        if fault.kind == SHORT:
            return Damaged("%s/%s is cut off; it was not used: run `envlock push --verify`" % (self.url, path))
        return Misconfigured("the cache %s refused a request (%s): look at `cache` in envlock.toml" % where)


def open_transport(manifest: Manifest, answer_seconds: Optional[int] = None) -> Transport:
    """The transport to the cache of a manifest. Raises Misconfigured if nodes have no client for it.

    `answer_seconds` is how long a server may be silent, if not as long as usual.
    """
    from .clients import client_of  # here, so that a node whose environment is there already does not read it

    url, open_client = client_of(manifest.cache, manifest.options, answer_seconds)
    return Transport(url, open_client)


def _is_given_up(fault: Fault, cut: int, busy: float) -> bool:
    """Whether a request is not sent again that was cut so many times, and so many seconds ago, since anything came."""
    if fault.kind == THROTTLED:
        return busy >= BUSY_SECONDS
    return fault.kind != CUT or cut >= ATTEMPTS


def pause(refused: int, asked: float = 0.0, chance: random.Random = CHANCE) -> float:
    """The seconds before a request is sent again that was refused so many times in a row.

    `asked` is how long the service asks to stay away; a pause is never shorter, up to a minute. Thousands of nodes
    start at once, and are refused at once: each draws another time, or they would all come back together.
    """
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(refused, 16))
    if asked > 0:
        asked = min(asked, LONGEST_ASKED)
        return asked + chance.uniform(0, max(longest, asked))
    return chance.uniform(longest / 4, longest)


def together(transport: Transport, *works: Callable[[], None]) -> None:
    """Do several works that use a transport, each in a thread. Raises what the first one raised that failed.

    A failure stops the transport, and so the others. A work may do several works itself, and ends only when all of
    those have: then another one is stopped before the failure comes out of it, and is not the one that failed.
    """
    failures: List[BaseException] = []

    def work(each: Callable[[], None]) -> None:
        try:
            each()
        except BaseException as failure:  # noqa: BLE001  raised again in the thread that waits
            failures.append(failure)
            transport.stop()

    threads = [threading.Thread(target=work, args=(each,), daemon=True) for each in works]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        transport.stop()
        for thread in threads:
            thread.join()
        raise
    try:
        if failures:
            raise next((each for each in failures if not isinstance(each, Stopped)), failures[0])
    finally:
        failures.clear()


def of_status(status: int, code: str, headers: Optional[Mapping[str, str]] = None) -> Fault:
    """What the status of an answer means, and the service's own name for that. Names of `headers` are in lower case.

    >>> of_status(503, "SlowDown", {"retry-after": "5"})
    Fault(kind=1, reason='503 SlowDown', after=5.0)
    """
    reason = ("%d %s" % (status, code)).strip()
    after = retry_after(str((headers or {}).get("retry-after") or ""))
    if status == 404:
        return Fault(NO_BUCKET if code in _NO_BUCKETS else GONE, reason)
    if status in (401, 403) or code in _REFUSED_CREDENTIALS:
        return Fault(FORBIDDEN, reason)
    if status in (429, 503) or code in _BUSY:
        return Fault(THROTTLED, reason, after)
    if status == 416:
        return Fault(SHORT, reason)
    if status >= 500 or status in (0, 408) or code == "RequestTimeout":
        return Fault(CUT, reason, after)
    return Fault(REFUSED, reason)


def retry_after(text: str) -> float:
    """The seconds that a header Retry-After (RFC 9110, 10.2.3) asks for; 0 if it says nothing that is understood.

    >>> retry_after("120"), retry_after(" 0.5 "), retry_after("soon"), retry_after("Fri, 31 Dec 1999 23:59:59 GMT")
    (120.0, 0.5, 0.0, 0.0)
    """
    text = text.strip()
    if text[:1].isdigit():
        try:
            seconds = float(text)
        except ValueError:
            return 0.0
    elif text.endswith(" GMT"):
        from email.utils import parsedate_to_datetime

        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return 0.0
    else:
        return 0.0
    return min(max(seconds, 0.0), SECONDS)


def reason_of(error: Optional[BaseException]) -> str:
    """Why a connection failed, without the text of a library: that may hold a URL with a signature."""
    name = type(error).__name__
    seen: List[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        if isinstance(error, socket.gaierror):
            return "its name is unknown here"
        if isinstance(error, OSError) and "SSL" in type(error).__name__:  # whose number is no error of the system
            return "its certificate is not trusted" if "Cert" in type(error).__name__ else "TLS fails"
        if isinstance(error, OSError) and isinstance(error.errno, int) and error.strerror:
            return os.strerror(error.errno)
        if "Timeout" in type(error).__name__ or isinstance(error, socket.timeout):
            return "no answer in time"
        if "SSL" in type(error).__name__:
            return "its certificate is not trusted"
        error = error.__cause__ or error.__context__ or _inner(error)
    return name


def _inner(error: BaseException) -> Optional[BaseException]:
    """The exception that a library keeps as an argument or an attribute of its own."""
    for each in (getattr(error, "reason", None), getattr(error, "inner_exception", None), *error.args):
        if isinstance(each, BaseException):
            return each
    return None
