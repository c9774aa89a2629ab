"""A client of S3 by the standard library alone: for images without boto3, and for all whose settings are plain.

It starts in a tenth of boto3's time. What a failure means is the same for both.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional
from urllib.parse import quote, urlsplit

from .aws import NOTHING, NoCredentials, Settings, domain_of, has_profile, query_of, seconds_of, settings_of, signed
from .connections import Answer, Connections, Failures, Text, Untrusted
from .transport import CUT, FORBIDDEN, REFUSED, Fault, Listed, of_status, reason_of

PIECE = 1 << 18
"""Bytes that are read at once. What came of a piece is lost where a connection is cut."""
_PLAIN_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_ADDRESS = re.compile(r"[0-9.]+\Z|.*:")
_FOR_BOTOCORE = ("--x-s3", "--xa-s3", "--ol-s3", "-s3alias", ".mrap")
_MOVED = (
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
)
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,80})\s*</Code>")
_REGION = re.compile(rb"<Region>\s*([a-z0-9-]{1,40})\s*</Region>")


class RefusedRequest(Exception):
    """An answer of S3 other than what was asked for."""

    def __init__(self, answer: Text) -> None:
        code = _CODE.search(answer.body[:4096])
        self.status = answer.status
        self.code = code.group(1).decode() if code else ""
        self.headers = answer.headers
        region = _REGION.search(answer.body[:4096])
        self.region = answer.headers.get("x-amz-bucket-region") or (region.group(1).decode() if region else "")
        super().__init__("%d %s" % (self.status, self.code))


class Facts(NamedTuple):
    """What S3 says of an object."""

    size: int
    modified: float
    metadata: Mapping[str, str]
    """The metadata that its writer gave it, by names in lower case."""


def serves(bucket: str) -> bool:
    """Whether a bucket is one that this client knows: no special kind, whose requests are signed otherwise.

    >>> serves("team-bucket"), serves("team--use1-az4--x-s3")
    (True, False)
    """
    return bool(_PLAIN_BUCKET.match(bucket)) and not bucket.endswith(_FOR_BOTOCORE)


def client_of(
    bucket: str, prefix: str, options: Mapping[str, Any], params: Optional[Mapping[str, Any]], seconds: float
) -> Optional[PlainS3]:
    """The client with the cache's options and with the parameters that Metaflow gives to boto3, if this one knows them.

    A profile that this machine does not have gives way to its role.
    """
    if params is None or not serves(bucket):
        return None
    profile = str(options.get("profile") or "")
    settings = settings_of(
        os.environ,
        endpoint=str(options.get("endpoint") or ""),
        region=str(options.get("region") or os.environ.get("AWS_REGION") or ""),
        profile=profile if profile and has_profile(os.environ, profile) else "",
        anonymous=bool(options.get("anonymous")),
        params=params,
    )
    return None if settings is None else PlainS3(bucket, prefix, settings, seconds)


class PlainS3:
    """Amazon S3, and servers with its API. Any thread may send requests.

    `prefix` is that of all paths. `seconds` is how long a server may be silent.
    """

    raises = (*Failures, RefusedRequest, NoCredentials, Untrusted, ValueError)

    def __init__(self, bucket: str, prefix: str, settings: Settings, seconds: float) -> None:
        self._bucket = bucket
        self._root = prefix + "/" if prefix else ""
        self._settings = settings
        self._region = settings.region
        self._connections = Connections(seconds, settings.certificates, settings.proxies)

    def get(self, path: str, start: int, end: Optional[int], write: Callable[[bytes], None]) -> None:
        """Write an object's bytes from `start` up to `end`, or to its end."""
        last = "" if end is None else str(end - 1)
        headers = {"Range": "bytes=%d-%s" % (start, last)} if start or end is not None else {}
        with self._send("GET", path, headers=headers) as answer:
            while True:
                piece = answer.read(PIECE)
                if not piece:
                    return
                write(piece)

    def read(self, path: str) -> Any:
        """All bytes of an object, and what S3 says of it."""
        pieces: List[bytes] = []
        with self._send("GET", path) as answer:
            while True:
                piece = answer.read(PIECE)
                if not piece:
                    return b"".join(pieces), _facts(answer.headers)
                pieces.append(piece)

    def find(self, path: str) -> Facts:
        """What S3 says of an object, in one HEAD."""
        return _facts(self._send("HEAD", path).text().headers)

    def prove_bucket(self) -> None:
        """One HEAD of the bucket."""
        self._send("HEAD", None).text()

    def list(self, folder: str) -> List[Listed]:
        """The objects below a folder."""
        return [Listed(path, modified) for path, _, modified in self.entries(folder)]

    def entries(self, folder: str) -> List[Any]:
        """The path, the size and the time of each object below a folder."""
        from xml.etree import ElementTree

        found: List[Any] = []
        query = {"list-type": "2", "prefix": self._root + folder + "/" if folder else self._root}
        while True:
            answer = self._send("GET", None, query).text()
            try:
                tree = ElementTree.fromstring(answer.body)  # noqa: S314  the parser limits what entities become
            except ElementTree.ParseError:
                raise ConnectionError from None
            for each in tree.iter():
                each.tag = each.tag.rpartition("}")[2]
            for each in tree.iter("Contents"):
                key, size = each.findtext("Key") or "", each.findtext("Size") or "0"
                found.append((key[len(self._root) :], int(size), seconds_of(each.findtext("LastModified") or "")))
            token = tree.findtext("NextContinuationToken")
            if tree.findtext("IsTruncated") != "true" or not token:
                return found
            query["continuation-token"] = token

    def put_new(self, path: str, data: bytes) -> bool:
        """Make an object unless there is one."""
        try:
            self.put(path, data, {"If-None-Match": "*"})
        except RefusedRequest as error:
            if error.status in (409, 412):
                return False
            raise
        return True

    def put(self, path: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Write an object."""
        self._send("PUT", path, headers=headers, body=data).text()

    def fault(self, error: BaseException) -> Fault:
        """What an exception means."""
        if isinstance(error, RefusedRequest):
            return of_status(error.status, error.code, error.headers)
        if isinstance(error, NoCredentials):
            return Fault(FORBIDDEN, "no credentials")
        if isinstance(error, Untrusted):
            return Fault(REFUSED, "no certificates in this image")
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            return Fault(REFUSED, type(error).__name__)
        return Fault(CUT, reason_of(error))

    def _send(
        self,
        method: str,
        path: Optional[str],
        query: Optional[Mapping[str, str]] = None,
        headers: Optional[Mapping[str, str]] = None,
        body: bytes = b"",
    ) -> Answer:
        """An answer with a status of success. Asks in another region, and with other credentials, once if told so."""
        payload = hashlib.sha256(body).hexdigest() if body else NOTHING
        is_moved = is_renewed = False
        while True:
            region = self._region
            url = self._url(path, query, region)
            given: Dict[str, str] = dict(headers or {})
            used = None
            if self._settings.source is not None:
                used = self._settings.source.get()
                given = signed(method, url, given, payload, used, region)
            answer = self._connections.send(method, url, given, body)
            if 200 <= answer.status < 300:
                return answer
            refused = RefusedRequest(_without_body(answer) if method == "HEAD" else answer.text())
            if not is_moved and self._has_moved(refused, region):
                is_moved = True
                self._region = refused.region
            elif not is_renewed and used is not None and _has_expired(refused) and self._settings.source.forget(used):
                is_renewed = True
            else:
                raise refused

    def _has_moved(self, refused: RefusedRequest, region: str) -> bool:
        """Whether S3 says that the bucket is in another region."""
        is_hint = refused.status in (301, 302, 307) or refused.code in _MOVED or refused.status == 400
        return is_hint and bool(refused.region) and refused.region != region

    def _url(self, path: Optional[str], query: Optional[Mapping[str, str]], region: str) -> str:
        key = "" if path is None else quote(self._root + path, safe="/-_.~")
        endpoint = self._settings.endpoint or "https://s3.%s.%s" % (region, domain_of(region))
        parts = urlsplit(endpoint)
        # A certificate covers one label below its domain, and an address has no names below it.
        is_no_label = "." in self._bucket and parts.scheme == "https"
        if self._settings.is_path_style or is_no_label or _ADDRESS.match(parts.hostname or ""):
            url = "%s/%s" % (endpoint, self._bucket) + ("/" + key if key else "")
        else:
            url = "%s://%s.%s%s/%s" % (parts.scheme, self._bucket, parts.netloc, parts.path, key)
        return url + "?" + query_of(query) if query else url


def _without_body(answer: Answer) -> Text:
    with answer:
        return Text(answer.status, answer.headers, b"")


def _has_expired(refused: RefusedRequest) -> bool:
    return refused.code in ("ExpiredToken", "RequestExpired") or (refused.status in (400, 403) and not refused.code)


def _facts(headers: Mapping[str, str]) -> Facts:
    from email.utils import mktime_tz, parsedate_tz

    prefix = "x-amz-meta-"
    written = parsedate_tz(headers.get("last-modified", ""))
    return Facts(
        int(headers.get("content-length") or 0),
        float(mktime_tz(written)) if written else 0.0,
        {name[len(prefix) :]: value for name, value in headers.items() if name.startswith(prefix)},
    )
