"""Requests to one registry: who we are, redirects, plain HTTP, retries, deadlines and limits.

Credentials go to the registry itself and to the place of tokens that it names, never along a redirect or an upload's
location to another host, and never from https to http. They are in no message.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, TypeVar

import httpx

from envlock.certificates import trusted
from envlock.image.authorization import Token, basic, challenges, token_of, token_request, without_secrets
from envlock.image.errors import InsecureRegistry, RegistryDenied, RegistryRefused, RegistryUnreachable
from envlock.image.manifests import MANIFEST_BYTES
from envlock.image.messages import Answer, Body, Passing, Request, shut, status_of
from envlock.image.references import ImageReference, is_loopback
from envlock.redaction import redact
from envlock.reporter import asking
from metaflow_extensions.envlock.plugins.node.transport import retry_after

if TYPE_CHECKING:
    from envlock.image.docker_login import DockerLogin, Login

ATTEMPTS = 4
_PAUSE = 0.5
"""Seconds before the second attempt; doubled before each further one, and changed by up to a half at random."""
_LONGEST_PAUSE = 60.0
"""Seconds. A registry that asks for a longer pause is given up."""
PATIENCE = 60.0
"""Seconds in which an answer must begin, and after which speed is checked."""
_DIGESTING = 5
"""Times as long a registry may take to answer once it has a whole blob: many copy it to storage first."""
_SLOWEST = 8 << 10
"""Bytes per second."""
_REDIRECTS = 10
_PROGRESS = 1 << 20
"""Bytes of a transfer after which a broken connection counts as the first."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

T = TypeVar("T")


class Connection:
    """The connections to the registry of a reference. Any thread may ask. Close it, or use `with`."""

    def __init__(
        self,
        reference: ImageReference,
        login: DockerLogin,
        *,
        is_insecure: bool = False,
        pause: float = _PAUSE,
        patience: float = PATIENCE,
    ) -> None:
        """`is_insecure` allows plain HTTP, which is used where the registry does not speak TLS."""
        self.registry = reference.registry
        self._login = login
        self._is_insecure = is_insecure
        self._pause = pause
        self._patience = patience
        self._stopped = threading.Event()
        self._lock = threading.RLock()
        self._sending = threading.Lock()
        self._requests = 0  # that wait for the head of their answer
        self._read: set[httpx.Response] = set()  # whose bodies are being received
        self._opened: httpx.Client | None = None
        self._base = ""
        self._scheme = ""  # of authorization, once the registry has asked for one
        self._tokens: dict[tuple[str, ...], Token] = {}
        self._challenge: Mapping[str, str] = {}

    def close(self) -> None:
        """End what is running (it raises CancelledError) and close the connections."""
        self._stopped.set()
        with self._sending:
            for response in self._read:
                shut(response)
        self._end()

    def _end(self) -> None:
        """Close the connections of one that was closed, once none is just being opened."""
        with self._sending:
            if self._stopped.is_set() and not self._requests and self._opened is not None:
                self._opened.close()

    def again(self, doing: str, attempt: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
        """What an attempt returns, made up to ATTEMPTS times, and as often again once a MiB more is there.

        Raises RegistryUnreachable after the last.
        """
        left, pause, before = ATTEMPTS, self._pause, progress()
        while True:
            try:
                return attempt()
            except Passing as failure:  # noqa: PERF203  each attempt may fail
                if self._stopped.is_set():
                    raise CancelledError from None
                if progress() - before >= _PROGRESS and not failure.is_slow:
                    left, pause, before = ATTEMPTS, self._pause, progress()
                left -= 1
                if not left or failure.pause > _LONGEST_PAUSE:
                    unreachable = RegistryUnreachable(doing, failure.reason, registry=self.registry)
                    if "CERTIFICATE_VERIFY_FAILED" in failure.reason:
                        hint = "if your own authority signed its certificate, name that in the variable SSL_CERT_FILE"
                        raise unreachable.with_hint(hint) from None
                    raise unreachable from None
                wait = max(pause * random.uniform(0.5, 1.5), failure.pause)  # noqa: S311  no secret
                if self._stopped.wait(min(wait, _LONGEST_PAUSE)):
                    raise CancelledError from None
                pause *= 2

    def ask(self, request: Request, expected: Collection[int], *, limit: int = MANIFEST_BYTES) -> Answer:
        """The short answer to a request, with one of the expected statuses, tried again where that may help.

        Raises RegistryDenied, RegistryRefused, RegistryUnreachable, InsecureRegistry.
        """
        return self.again(request.doing, lambda: self.ask_once(request, expected, limit=limit))

    def ask_once(self, request: Request, expected: Collection[int], *, limit: int = MANIFEST_BYTES) -> Answer:
        """As `ask`, in one attempt. Raises Passing where another may help."""
        with self.stream(request) as response:
            answer = self.read(request.doing, response, limit)
        if answer.status not in expected:
            raise self.refusal(request.doing, answer)
        return answer

    @contextmanager
    def stream(self, request: Request) -> Iterator[httpx.Response]:
        """The answer to a request, its body unread, in one attempt. Raises Passing where another may help."""
        with self._heard(request.doing, lambda: self._answer(request)) as response:
            yield response

    @contextmanager
    def _heard(self, doing: str, send: Callable[[], httpx.Response]) -> Iterator[httpx.Response]:
        """An answer that does not ask to try again, closed afterwards. What httpx raises is Passing."""
        try:
            response = send()
            try:
                if response.status_code in _PASSING:
                    raise Passing(status_of(response), pause=retry_after(response.headers.get("retry-after", "")))
                yield response
            finally:
                response.close()
        except httpx.TransportError as error:
            raise Passing(f"{error.request.url.host}: {redact(str(error)) or type(error).__name__}") from None
        except (httpx.InvalidURL, UnicodeError):  # httpx looks at where it is led, although it does not go there
            raise RegistryRefused(doing, "it led to what is no URL", registry=self.registry) from None
        except RuntimeError:  # of httpx, whose client was closed
            if not self._stopped.is_set():
                raise
            raise CancelledError from None

    def read(self, doing: str, response: httpx.Response, limit: int = MANIFEST_BYTES) -> Answer:
        """A short answer, read. Raises RegistryRefused for one that is not short."""
        data = bytearray()
        for block in self.received(response):
            data += block
            if len(data) > limit:
                raise RegistryRefused(doing, f"its answer is longer than {limit >> 20} MiB", registry=self.registry)
        return Answer(response.status_code, response.headers, response.url, bytes(data))

    def received(self, response: httpx.Response) -> Iterator[bytes]:
        """The body as it arrives. Raises Passing if that becomes too slow."""
        began, came = time.monotonic(), 0
        with self._sending:
            self._read.add(response)
        try:
            for block in response.iter_raw() if not self._stopped.is_set() else ():
                came += len(block)
                yield block
                seconds = time.monotonic() - began
                if seconds >= self._patience:
                    if came < _SLOWEST * seconds:
                        reason = f"{response.url.host} sent {came} bytes in {seconds:.0f} seconds"
                        raise Passing(reason, is_slow=True)
                    began, came = time.monotonic(), 0
        finally:
            with self._sending:
                self._read.discard(response)
        if self._stopped.is_set():
            raise CancelledError

    def refusal(self, doing: str, answer: Answer) -> RegistryDenied | RegistryRefused:
        """The error for an answer that was not wanted, with the registry's own reasons, without our secrets."""
        host = answer.url.host
        who = "the registry" if self._is_own(answer.url) else f"{host}, to which the registry led,"
        reason = f"{who} answered {answer.status} {httpx.codes.get_reason_phrase(answer.status)}".rstrip()
        login = self._known()
        said = (f"{code}: {text}".rstrip(": ") for code, text in answer.errors())
        details = tuple(without_secrets(each, login, self._tokens.values()) for each in said)
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            reason += " to the login that envlock found" if login is not None else "; envlock found no login for it"
            return RegistryDenied(doing, reason, registry=self.registry, details=details)
        refused = RegistryRefused(doing, reason, registry=self.registry, details=details)
        unknown = "NAME_UNKNOWN" in answer.codes()  # some create a repository with the first push, some do not
        return refused.with_hint("create the repository first, or check its name") if unknown else refused

    def _answer(self, request: Request) -> httpx.Response:
        """The answer after redirects, and after telling the registry who we are, where it asks."""
        url = self._led(request.doing, httpx.URL(self.base()), request.url)
        is_refreshed, redirects = False, 0
        while True:
            headers = {"Accept-Encoding": "identity", "User-Agent": "envlock", **request.headers}
            authorization = self._authorization(request) if self._is_own(url) else ""
            if authorization:
                headers["Authorization"] = authorization
            response = self._sent(
                self._built(request.method, url, headers, request.body, request.content), request.body
            )
            if response.status_code == HTTPStatus.UNAUTHORIZED and self._is_own(url) and not is_refreshed:
                response.close()
                is_refreshed = True
                self._take_challenge(request, response.headers.get_list("www-authenticate"), authorization)
                continue
            if not response.has_redirect_location or not request.follows:
                return response
            response.close()
            redirects += 1
            if redirects > _REDIRECTS or (request.body is not None and response.status_code not in {307, 308}):
                raise RegistryRefused(request.doing, status_of(response), registry=self.registry)
            url = self._led(request.doing, url, response.headers["location"])

    def _led(self, doing: str, url: httpx.URL, location: str) -> httpx.URL:
        """The URL that a location names, without a user name, which may be asked."""
        try:
            target = url.join(location).copy_with(userinfo=b"")
            host = target.host
        except (httpx.InvalidURL, UnicodeError):
            raise RegistryRefused(doing, "it led to what is no URL", registry=self.registry) from None
        may_be_plain = self._is_insecure or (self.base().startswith("http:") and is_loopback(host))
        if target.scheme == "http" and not may_be_plain:
            raise InsecureRegistry(doing, f"it led to {host} over plain HTTP", registry=self.registry)
        if target.scheme not in {"http", "https"} or not host:
            raise RegistryRefused(doing, f"it led to a URL of `{target.scheme}:`", registry=self.registry)
        return target

    def _built(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], body: Body | None = None, content: bytes = b""
    ) -> httpx.Request:
        patience = self._patience * (_DIGESTING if body else 1)
        timeout = httpx.Timeout(self._patience, connect=min(10.0, self._patience), read=patience, pool=None)
        if body is None:
            return self._client().build_request(method, url, headers=headers, content=content or None, timeout=timeout)
        headers = {**headers, "Content-Length": str(body.size)}
        return self._client().build_request(method, url, headers=headers, content=body.blocks(), timeout=timeout)

    def _sent(self, request: httpx.Request, body: Body | None = None) -> httpx.Response:
        """The head of the answer. httpx limits only the time between two bytes, so its thread may be left."""
        client = self._client()
        answer: Future[httpx.Response] = Future()

        def send() -> None:
            try:
                answer.set_result(client.send(request, stream=True, follow_redirects=False))
            except BaseException as error:  # noqa: BLE001  raised where it is waited for
                answer.set_exception(error)
            finally:
                with self._sending:
                    self._requests -= 1
                self._end()

        with self._sending:
            self._requests += 1
        with asking(request.method, str(request.url)) as told:
            threading.Thread(target=send, daemon=True).start()
            try:
                found = self._waited_for(answer, request.url.host, body)
            except BaseException:
                if body is not None:
                    body.end()
                answer.add_done_callback(_close)
                raise
            told.ended(found.status_code)
        return found

    def _waited_for(self, answer: Future[httpx.Response], host: str, body: Body | None) -> httpx.Response:
        began, before = time.monotonic(), 0
        while True:
            try:
                return answer.result(min(0.5, self._patience))
            except FutureTimeout:
                if answer.done():  # what was sent timed out itself
                    raise
            if self._stopped.is_set():
                raise CancelledError
            seconds = time.monotonic() - began
            if body is not None and body.count < body.size:
                if seconds < self._patience:
                    continue
                if body.count - before < _SLOWEST * seconds:
                    raise Passing(f"{host} took {body.count - before} bytes in {seconds:.0f} seconds", is_slow=True)
                began, before = time.monotonic(), body.count
            elif seconds >= self._patience * (_DIGESTING if body else 1):
                raise Passing(f"{host} did not start to answer within {seconds:.0f} seconds")

    def base(self) -> str:
        """The registry's URL: https, unless plain HTTP is allowed and it does not speak TLS."""
        with self._lock:
            if not self._base:
                scheme = "https"
                host = httpx.URL(f"https://{self.registry}").host
                if (self._is_insecure or is_loopback(host)) and not self._speaks_tls():
                    scheme = "http"
                self._base = f"{scheme}://{self.registry}"
            return self._base

    def _speaks_tls(self) -> bool:
        try:
            self._sent(self._built("GET", httpx.URL(f"https://{self.registry}/v2/"), {})).close()
        except (httpx.TransportError, Passing) as error:
            return isinstance(error, (httpx.TimeoutException, Passing)) or "CERTIFICATE" in str(error)
        return True

    def _is_own(self, url: httpx.URL) -> bool:
        """Whether it is the registry itself, by the scheme that it was first asked by."""
        own = httpx.URL(self.base())
        return (url.scheme, url.host, url.port) == (own.scheme, own.host, own.port)

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._stopped.is_set():
                raise CancelledError
            if self._opened is None:
                # A registry that sets a cookie takes who sends it back for a browser, and wants proof that it is none.
                cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
                self._opened = httpx.Client(limits=httpx.Limits(max_connections=16), cookies=cookies, verify=trusted())
            return self._opened

    def _authorization(self, request: Request) -> str:
        """The header that tells who we are; empty before the registry asked for one."""
        with self._lock:
            if self._scheme == "basic":
                login = self._known()
                return basic(login) if login is not None else ""
            if self._scheme == "bearer":
                return f"Bearer {self._token(request)}"
            return ""

    def _take_challenge(self, request: Request, told: list[str], refused: str) -> None:
        """Choose how to tell who we are, as the registry asks. A token that it refused is forgotten."""
        found = challenges(", ".join(told))
        with self._lock:
            if "bearer" in found:
                self._scheme, self._challenge = "bearer", found["bearer"]
                token = self._tokens.get(self._scopes(request))
                if token is not None and refused == f"Bearer {token.value}":  # else another thread has a new one
                    del self._tokens[self._scopes(request)]
            elif "basic" in found and (login := self._known()) is not None and login.password:
                self._scheme = "basic"

    def _known(self) -> Login | None:
        return self._login.for_registry(self.registry)

    def _scopes(self, request: Request) -> tuple[str, ...]:
        return request.scopes or tuple(self._challenge.get("scope", "").split())

    def _token(self, request: Request) -> str:
        """A bearer token for what is asked, which counts a while longer. The caller holds the lock."""
        login = self._known()
        if login is not None and login.registry_token:
            return login.registry_token
        scopes = self._scopes(request)
        found = self._tokens.get(scopes)
        if found is None or found.ends < time.monotonic():
            doing = f"log in to {self.registry}"
            found = self.again(doing, lambda: self._fetched_token(doing, scopes, login))
            self._tokens[scopes] = found
        return found.value

    def _fetched_token(self, doing: str, scopes: tuple[str, ...], login: Login | None) -> Token:
        """Ask the place of tokens that the registry names, with the login that envlock found."""
        asked = token_request(self._challenge, scopes, login)
        if asked is None:
            raise RegistryDenied(doing, "it names no place that gives tokens", registry=self.registry)
        url = self._led(doing, httpx.URL(self.base()), asked.url)
        built = self._client().build_request(asked.method, url, headers=asked.headers, data=asked.form)
        with self._heard(doing, lambda: self._sent(built)) as heard:
            answer = self.read(doing, heard, MANIFEST_BYTES)
        if answer.status != HTTPStatus.OK:
            error = self.refusal(doing, answer)
            raise RegistryDenied(doing, error.reason, registry=self.registry, details=error.details)
        token = token_of(answer.data, time.monotonic())
        if token is None:
            raise RegistryDenied(doing, f"{url.host} sent no token", registry=self.registry)
        return token


def _close(answer: Future[httpx.Response]) -> None:
    if answer.exception() is None:
        answer.result().close()
