"""What an exception of a bucket's library means: one word for what each service and library calls differently.

Nothing of the libraries is imported: their exceptions are told apart by the status and the code of the server's answer
that they carry, and by name. They wrap each other, so the whole chain is looked at.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from envlock.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

_REASON_LENGTH = 200
# What SDKs put into what they say of a connection string or of a signed URL.
_SECRET = re.compile(
    r"(?i)\b(accountkey|sharedaccesssignature|sig|secret|password|token|x-(?:amz|goog)-[a-z-]+)=[^&;\s\"']+"
)


class Kind(Enum):
    """What can be done about a failure."""

    MISSING = auto()
    """There is no such object, or no such bucket: some servers do not say which."""
    NO_BUCKET = auto()
    EXISTS = auto()
    """A precondition failed: somebody, perhaps this process, wrote the object before, or is writing it."""
    EMPTY = auto()
    """A range of an empty object was requested."""
    FORBIDDEN = auto()
    REGION = auto()
    """The bucket is in another region."""
    PASSING = auto()
    """Another attempt may succeed."""
    BUSY = auto()
    """The service is asked too much, and says so. Another attempt will succeed, if not all come back at once."""
    SILENT = auto()
    """Nothing answers there. Another attempt may succeed."""
    OTHER = auto()


class Fault(NamedTuple):
    """A failure of a bucket."""

    kind: Kind
    reason: str
    """In words, without credentials."""


_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound", "InvalidBucketName", "InvalidResourceName"})
_REGION = frozenset(
    {
        *("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"),
        *("IllegalLocationConstraintException", "InvalidLocationConstraint"),
    }
)
_EXISTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "BlobAlreadyExists", "ConditionNotMet"})
_MISSING = frozenset({"NoSuchKey", "BlobNotFound"})
_FORBIDDEN = frozenset(
    {
        *("AccessDenied", "AllAccessDisabled", "AccountProblem", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken"),
        *("SignatureDoesNotMatch", "RequestTimeTooSkewed", "TokenRefreshRequired", "AuthenticationFailed"),
        *("AuthorizationFailure", "AuthorizationPermissionMismatch", "NoAuthenticationInformation"),
        *("InvalidAuthenticationInfo", "PublicAccessNotPermitted", "MethodNotAllowed"),
    }
)
_FORBIDDEN_TYPES = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
        *("TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "SSOError"),
        *("DefaultCredentialsError", "RefreshError", "MutualTLSChannelError"),
        *("ClientAuthenticationError", "CredentialUnavailableError"),
    }
)
_PASSING = frozenset(
    {
        *("ServiceUnavailable", "InternalError", "RequestTimeout", "OperationTimedOut"),
        *("NoSuchUpload", "BadDigest", "IncompleteBody"),
        *("InvalidBlobOrBlock", "InvalidBlockList", "Md5Mismatch", "XAmzContentSHA256Mismatch"),
    }
)
_BUSY = frozenset({"SlowDown", "ServerBusy", "Throttling", "ThrottlingException", "RequestLimitExceeded"})
_PASSING_STATUS = frozenset({408, 425, 500, 502, 503, 504})
_PASSING_TYPES = frozenset(
    {
        *("ReadTimeoutError", "ConnectionClosedError", "HTTPClientError", "ResponseParserError", "ProxyError"),
        *("ServerDisconnectedError", "ClientPayloadError", "ClientOSError", "ClientConnectionResetError"),
        *("FSTimeoutError", "TimeoutError", "SocketTimeoutError", "ServerTimeoutError", "IncompleteReadError"),
        *("IncompleteRead", "ServiceResponseError", "ServiceResponseTimeoutError", "HttpClientError", "ChecksumError"),
        *("ResponseStreamingError", "StreamClosedError", "DecodeError", "ChunkedEncodingError", "TransportError"),
    }
)
_SILENT_TYPES = frozenset(
    {
        *("EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError", "ClientConnectorDNSError"),
        *("ConnectionTimeoutError", "ServiceRequestError", "ServiceRequestTimeoutError", "ClientConnectorSSLError"),
    }
)
_IS_NAMED = {
    **dict.fromkeys(_NO_BUCKET, Kind.NO_BUCKET),
    **dict.fromkeys(_REGION, Kind.REGION),
    **dict.fromkeys(_EXISTS, Kind.EXISTS),
    **dict.fromkeys(_MISSING, Kind.MISSING),
    **dict.fromkeys(_FORBIDDEN, Kind.FORBIDDEN),
    **dict.fromkeys(_PASSING, Kind.PASSING),
    **dict.fromkeys(_BUSY, Kind.BUSY),
}
_IS_TYPED = {
    **dict.fromkeys(_FORBIDDEN_TYPES, Kind.FORBIDDEN),
    **dict.fromkeys(_SILENT_TYPES, Kind.SILENT),
    **dict.fromkeys(_PASSING_TYPES, Kind.PASSING),
}
_IS_ANSWERED: dict[int, Kind] = {
    301: Kind.REGION,
    307: Kind.REGION,
    401: Kind.FORBIDDEN,
    403: Kind.FORBIDDEN,
    405: Kind.FORBIDDEN,
    404: Kind.MISSING,
    409: Kind.EXISTS,
    412: Kind.EXISTS,
    416: Kind.EMPTY,
    429: Kind.BUSY,
    **dict.fromkeys(_PASSING_STATUS, Kind.PASSING),
}


def fault_of(error: BaseException) -> Fault:
    """The meaning of an exception of a bucket's library.

    >>> fault_of(PermissionError("Access Denied"))
    Fault(kind=<Kind.FORBIDDEN: 5>, reason='Access Denied')
    >>> fault_of(OSError("reading from s3://bucket/x failed")).kind
    <Kind.OTHER: 10>
    """
    chain = tuple(_chain(error))
    reason = next((_said(*_answer(one), one) for one in chain if _answer(one)[0]), "")
    for one in chain:
        kind = _IS_NAMED.get(_answer(one)[1])
        if kind is not None:
            return Fault(kind, reason)
    for one in chain:
        kind = _IS_ANSWERED.get(_answer(one)[0]) or _IS_TYPED.get(type(one).__name__) or _plain(one)
        if kind is not None:
            return Fault(kind, reason or _said(0, "", one))
    return Fault(Kind.OTHER, reason or _said(0, "", error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, and what it was raised from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _answer(error: BaseException) -> tuple[int, str]:
    """The status and code of the server's answer; 0 and empty if the exception is not about an answer."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return int(status or 0), str(response.get("Error", {}).get("Code", ""))
    for name in ("status_code", "status", "code"):  # azure, aiohttp, gcsfs
        status = getattr(error, name, None)
        if isinstance(status, int) or (isinstance(status, str) and status.isdigit()):
            found = getattr(error, "error_code", None)
            return int(status), str(getattr(found, "value", found) or "")
    return 0, ""


def _plain(error: BaseException) -> Kind | None:
    """The meaning of Python's own exceptions, as the libraries raise them."""
    if isinstance(error, FileExistsError):
        return Kind.EXISTS
    if isinstance(error, FileNotFoundError):
        return Kind.MISSING
    if isinstance(error, PermissionError) or str(error).startswith("Forbidden: "):
        return Kind.FORBIDDEN
    if isinstance(error, ConnectionRefusedError):
        return Kind.SILENT
    if isinstance(error, (ConnectionError, TimeoutError)):
        return Kind.PASSING
    return None


def _said(status: int, code: str, error: BaseException) -> str:
    """The server's message, or the library's, on one line."""
    if status and code and not code.isdigit():
        return f"it answered {status} {code}"
    if status:
        known = next((each.phrase for each in HTTPStatus if each == status), "")
        return f"it answered {status} {known}".rstrip()
    lines = str(error).strip().split("\n")
    text = " ".join(lines[:2] if lines[0].endswith(":") else lines[:1])
    return _SECRET.sub(r"\1=***", redact(text))[:_REASON_LENGTH] or type(error).__name__
