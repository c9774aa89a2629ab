"""One blob on its way, there or here: whole in one request, or the rest of it after the connection broke."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import quote

from envlock.image.errors import ImageDamaged, NoSuchImage, RegistryRefused
from envlock.image.messages import Body, Passing, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from envlock.image.connection import Connection
    from envlock.image.manifests import Descriptor
    from envlock.image.messages import Answer

_BYTES = {"Content-Type": "application/octet-stream"}


class Pushed(NamedTuple):
    """What a push did."""

    digest: str
    """Of the manifest."""
    sent: tuple[Descriptor, ...]
    """Blobs whose bytes were sent."""
    mounted: tuple[Descriptor, ...]
    """Blobs that another repository of the registry had."""
    present: tuple[Descriptor, ...]
    """Blobs that the repository had."""

    @property
    def sent_bytes(self) -> int:
        """How many bytes of blobs were sent."""
        return sum(each.size for each in self.sent)


def upload(
    connection: Connection, begin: Request, file: BinaryIO, descriptor: Descriptor, on_bytes: Callable[[int], None]
) -> None:
    """Send a file to where the registry wants it. `begin` is the request that asks it where.

    Where the connection breaks, what the registry kept is not sent again. `on_bytes` gets the number of bytes that were
    sent; a negative one for those that have to be sent again.
    """
    running = _Upload(connection, begin, file, descriptor, on_bytes)
    connection.again(begin.doing, running.attempt, lambda: running.kept)


def download(
    connection: Connection, asked: Request, file: BinaryIO, descriptor: Descriptor, on_bytes: Callable[[int], None]
) -> None:
    """Write a blob into a file that is empty. What arrived before the connection broke is not asked for again.

    Raises ImageDamaged, after which the file is of no use, and NoSuchImage.
    """
    running = _Download(connection, asked, file, descriptor, on_bytes)
    connection.again(asked.doing, running.attempt, lambda: running.count)
    running.prove()


class _Upload:
    def __init__(
        self,
        connection: Connection,
        begin: Request,
        file: BinaryIO,
        descriptor: Descriptor,
        on_bytes: Callable[[int], None],
    ) -> None:
        self.kept = 0
        """Bytes that the registry has said it has."""
        self._connection = connection
        self._begin = begin
        self._file = file
        self._descriptor = descriptor
        self._on_bytes = on_bytes
        self._told = 0
        self._location = ""
        self._may_resume = True

    def attempt(self) -> None:
        """Send what the registry lacks. Raises Passing where another attempt may help."""
        if self._location and not self._is_known():
            self._location = ""
        if not self._location:
            self.kept = 0
            self._location = self._located(self._connection.ask_once(self._begin, {HTTPStatus.ACCEPTED}))
        self._tell(self.kept)
        left = self._descriptor.size - self.kept
        body = Body(self._file, self.kept, left, self._count)
        if self.kept:
            last = self._descriptor.size - 1
            headers = {**_BYTES, "Content-Range": f"{self.kept}-{last}"}
            answer = self._send("PATCH", self._location, headers, body, {HTTPStatus.ACCEPTED})
            self._location = self._located(answer)
            body = Body(self._file, 0, 0, self._count)
        self._send("PUT", self._with_digest(), _BYTES, body, {HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})

    def _is_known(self) -> bool:
        """Whether the registry still knows the upload that broke; `kept` is what it has of it."""
        if not self._may_resume:
            return False
        asked = self._begin._replace(method="GET", url=self._location)
        try:
            answer = self._connection.ask_once(asked, {HTTPStatus.NO_CONTENT, HTTPStatus.OK})
        except RegistryRefused:
            return False
        found = re.fullmatch(r"(?:bytes=)?0-([0-9]{1,18})", answer.headers.get("range", ""))
        # A registry that kept nothing says `0-0`, too.
        self.kept = int(found[1]) + 1 if found is not None and int(found[1]) else 0
        if self.kept > self._descriptor.size:
            return False
        self._location = answer.location() or self._location
        return True

    def _send(self, method: str, url: str, headers: dict[str, str], body: Body, expected: set[int]) -> Answer:
        asked = self._begin._replace(method=method, url=url, headers=headers, body=body)
        answer = self._connection.ask_once(asked, {*expected, 400, 404, 416})
        if answer.status in expected:
            return answer
        is_resumed = self.kept > 0
        is_lost = answer.status != HTTPStatus.BAD_REQUEST or "BLOB_UPLOAD_INVALID" in answer.codes()
        if is_resumed or (is_lost and self._may_resume):  # some forget an upload that broke, some keep it wrong
            self._may_resume = False
            raise Passing(f"the upload had to start over: {answer.status}")
        raise self._connection.refusal(asked.doing, answer)

    def _with_digest(self) -> str:
        return f"{self._location}{'&' if '?' in self._location else '?'}digest={quote(self._descriptor.digest)}"

    def _located(self, answer: Answer) -> str:
        found = answer.location()
        if not found:
            reason = "it does not say where a blob may be sent to"
            raise RegistryRefused(self._begin.doing, reason, registry=self._connection.registry)
        return found

    def _count(self, amount: int) -> None:
        self._told += amount
        self._on_bytes(amount)

    def _tell(self, kept: int) -> None:
        """Report that so many bytes are there, whatever was reported before."""
        if kept != self._told:
            self._on_bytes(kept - self._told)
            self._told = kept


class _Download:
    def __init__(
        self,
        connection: Connection,
        asked: Request,
        file: BinaryIO,
        descriptor: Descriptor,
        on_bytes: Callable[[int], None],
    ) -> None:
        self.count = 0
        """Bytes that have arrived."""
        self._connection = connection
        self._asked = asked
        self._file = file
        self._descriptor = descriptor
        self._on_bytes = on_bytes
        self._hash = hashlib.new(descriptor.digest.partition(":")[0])

    def attempt(self) -> None:
        """Receive what is missing. Raises Passing where another attempt may help."""
        asked = self._asked
        headers = {"Range": f"bytes={self.count}-"} if self.count else {}
        with self._connection.stream(asked._replace(headers=headers)) as response:
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self.count:
                self._start_over()
                raise Passing("it does not continue a transfer that broke off")
            if response.status_code not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                answer = self._connection.read(asked.doing, response)
                if answer.status == HTTPStatus.NOT_FOUND:
                    reason = f"the registry lacks its blob {self._descriptor.digest}"
                    raise NoSuchImage(asked.doing, reason, registry=self._connection.registry)
                raise self._connection.refusal(asked.doing, answer)
            if response.status_code == HTTPStatus.OK:
                self._start_over()
            elif not response.headers.get("content-range", "").startswith(f"bytes {self.count}-"):
                raise Passing("it sent another part of a blob than requested")
            for block in self._connection.received(response):
                self._write(block)
        if self.count < self._descriptor.size:
            raise Passing(f"the transfer stopped after {self.count} of {self._descriptor.size} bytes")

    def _start_over(self) -> None:
        if self.count:
            self._on_bytes(-self.count)
            self._file.seek(0)
            self._file.truncate()
            self._hash = hashlib.new(self._hash.name)
            self.count = 0

    def _write(self, block: bytes) -> None:
        self.count += len(block)
        if self.count > self._descriptor.size:
            raise self._damaged(f"more than {self._descriptor.size} bytes")
        self._file.write(block)
        self._hash.update(block)
        self._on_bytes(len(block))

    def prove(self) -> None:
        """Raise ImageDamaged unless the bytes are those of the digest."""
        got = f"{self._hash.name}:{self._hash.hexdigest()}"
        if got != self._descriptor.digest:
            raise self._damaged(got)

    def _damaged(self, got: str) -> ImageDamaged:
        return ImageDamaged(self._connection.registry, "the blob", expected=self._descriptor.digest, got=got)
