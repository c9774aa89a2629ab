"""The clients of buckets: S3, Azure and Google Cloud Storage, as Metaflow makes them, or by the cache's own options.

A client sends a request once, and raises what its library raises (`raises`); `fault` says what that means. Paths are
below the cache's root. Metaflow's storage classes are not used: they start processes, at several times the cost.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from . import plain_s3
from .errors import Misconfigured
from .libraries import install
from .s3_settings import client_params
from .transport import CUT, FORBIDDEN, REFUSED, Fault, Listed, of_status, reason_of

CONNECT_SECONDS = 5
ANSWER_SECONDS = 30
"""How long a server may be silent."""
CONNECTIONS = 16
PIECE = 1 << 18
"""Bytes that are read at once. What came of a piece is lost where a connection is cut."""

_NO_CREDENTIALS = ("NoCredentials", "PartialCredentials", "CredentialRetrieval", "TokenRetrieval", "SSOToken")

Write = Callable[[bytes], None]


def client_of(
    url: str, options: Mapping[str, Any], answer_seconds: Optional[int] = None
) -> Tuple[str, Callable[[], Any]]:
    """The URL of a cache without what could be a secret, and what makes a client for it. Raises Misconfigured."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    authority, _, prefix = rest.partition("/")
    bucket, _, host = authority.partition("@")
    prefix = prefix.strip("/")
    if not separator or scheme not in _CLIENTS or not bucket:
        raise Misconfigured(
            "a node cannot reach the cache %s: set `cache` in envlock.toml to a bucket, such as s3://team/envlock, "
            "push, and deploy again" % (url or "of this flow")
        )
    shown = "%s://%s" % (scheme, "/".join(filter(None, [bucket, prefix])))
    return shown, lambda: _CLIENTS[scheme](bucket, prefix, host, options, answer_seconds or ANSWER_SECONDS)


class _Client:
    """What the three have in common: the keys of paths, and what statuses mean."""

    def __init__(self, bucket: str, prefix: str) -> None:
        for library in ("azure", "botocore", "google", "urllib3"):
            # A logger without a handler of its own prints what an error says anyway, URLs and all.
            logging.getLogger(library).addHandler(logging.NullHandler())
        self._bucket = bucket
        self._root = prefix + "/" if prefix else ""

    def _key(self, path: str) -> str:
        return self._root + path

    def _path(self, key: str) -> str:
        return key[len(self._root) :]


class S3(_Client):
    """Amazon S3, and servers with its API, by boto3."""

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, Any], seconds: int) -> None:
        super().__init__(bucket, prefix)
        try:
            from botocore.exceptions import BotoCoreError, ClientError
            from urllib3.exceptions import HTTPError
        except ImportError:
            raise _no_library("boto3", "s3") from None
        self.raises = (BotoCoreError, ClientError, HTTPError, OSError, ValueError)
        self._client = _s3_client(options, seconds)

    def get(self, path: str, start: int, end: Optional[int], write: Write) -> None:
        """Write an object's bytes from `start` up to `end`, or to its end."""
        last = "" if end is None else str(end - 1)
        rest = {"Range": "bytes=%d-%s" % (start, last)} if start or end is not None else {}
        body = self._client.get_object(Bucket=self._bucket, Key=self._key(path), **rest)["Body"]
        try:
            while True:
                piece = body.read(PIECE)
                if not piece:
                    return
                write(piece)
        finally:
            body.close()

    def list(self, folder: str) -> List[Listed]:
        """The objects below a folder."""
        found: List[Listed] = []
        request = {"Bucket": self._bucket, "Prefix": self._key(folder) + "/"}
        while True:
            answer = self._client.list_objects_v2(**request)
            contents = answer.get("Contents", ())
            found += [Listed(self._path(each["Key"]), each["LastModified"].timestamp()) for each in contents]
            if not answer.get("IsTruncated"):
                return found
            request["ContinuationToken"] = answer["NextContinuationToken"]

    def put_new(self, path: str, data: bytes) -> bool:
        """Make an object unless there is one."""
        from botocore.exceptions import ClientError

        try:
            self._client.put_object(Bucket=self._bucket, Key=self._key(path), Body=data, IfNoneMatch="*")
        except ClientError as error:
            if _status_of_s3(error) in (409, 412):
                return False
            raise
        return True

    def fault(self, error: BaseException) -> Fault:
        """What an exception means."""
        if isinstance(getattr(error, "response", None), dict):
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders")
            return of_status(_status_of_s3(error), str(error.response.get("Error", {}).get("Code", "")), headers)
        if type(error).__name__.startswith(_NO_CREDENTIALS):
            return Fault(FORBIDDEN, "no credentials")
        if type(error).__name__ in ("ParamValidationError", "ProfileNotFound", "NoRegionError", "ValueError"):
            return Fault(REFUSED, type(error).__name__)
        return Fault(CUT, reason_of(error))


def _s3(bucket: str, prefix: str, host: str, options: Mapping[str, Any], seconds: float) -> Any:  # noqa: ARG001
    """The client of the standard library, which starts at once, where it knows all that is set; else that of boto3."""
    found = plain_s3.client_of(bucket, prefix, options, client_params(os.environ, os.getcwd()), seconds)
    return found or install(os.environ) or S3(bucket, prefix, options, seconds)


def _s3_config(options: Mapping[str, Any], seconds: int) -> Any:
    """Settings of boto3 for requests that are sent once: attempts and pauses are the transport's."""
    from botocore import UNSIGNED
    from botocore.config import Config

    wanted: Dict[str, Any] = {
        "retries": {"mode": "standard", "total_max_attempts": 1},
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": seconds,
        "max_pool_connections": CONNECTIONS,
        # What is read is verified by its SHA-256: a CRC of it would cost a tenth of the time and find less.
        "response_checksum_validation": "when_required",
        "request_checksum_calculation": "when_required",
    }
    if options.get("anonymous"):
        wanted["signature_version"] = UNSIGNED
    return Config(**{name: value for name, value in wanted.items() if name in Config.OPTION_DEFAULTS})


def _s3_client(options: Mapping[str, Any], seconds: int) -> Any:
    """The client that Metaflow makes, which its settings may give another endpoint; with the cache's options on top."""
    from botocore.config import Config
    from botocore.session import Session

    config = _s3_config(options, seconds)
    own = {
        "endpoint_url": options.get("endpoint"),
        "region_name": options.get("region") or os.environ.get("AWS_REGION"),
    }
    own = {name: value for name, value in own.items() if value}
    profile = options.get("profile")
    if profile and profile in Session().available_profiles:  # a node has a role in its place
        return Session(profile=profile).create_client("s3", config=config, **own)
    params, make = _by_metaflow(client_params(os.environ, os.getcwd()), Session().create_client)
    params.update(own)
    theirs = params.get("config")
    if isinstance(theirs, dict):
        theirs = Config(**theirs)
    params["config"] = theirs.merge(config) if theirs is not None else config
    return make("s3", **params)


def _by_metaflow(
    params: Optional[Dict[str, Any]], make: Callable[..., Any]
) -> Tuple[Dict[str, Any], Callable[..., Any]]:
    """The parameters of the client, and what makes it: Metaflow itself where its parameters are not plain."""
    if params is not None:
        return params, make
    try:
        from metaflow.metaflow_config import DATATOOLS_CLIENT_PARAMS
        from metaflow.plugins.datatools.s3.s3util import get_s3_client
    except ImportError:
        return {}, make
    return dict(DATATOOLS_CLIENT_PARAMS), lambda _, **params: get_s3_client(s3_client_params=params)[0]


def _status_of_s3(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


class Azure(_Client):
    """A container of Azure's Blob Storage."""

    def __init__(self, bucket: str, prefix: str, host: str, options: Mapping[str, Any], seconds: int) -> None:
        super().__init__(bucket, prefix)
        try:
            from azure.core.exceptions import AzureError
            from azure.storage.blob import BlobServiceClient
        except ImportError:
            raise _no_library("azure-storage-blob", "azure") from None
        self.raises = (AzureError, OSError)
        limits = {
            "retry_total": 0,
            "connection_timeout": CONNECT_SECONDS,
            "read_timeout": seconds,
            "connection_data_block_size": PIECE,
            "max_single_get_size": 16 << 20,
            "max_chunk_get_size": 16 << 20,
        }
        of = os.environ.get
        account = options.get("account") or (host.partition(".")[0] if host else "")
        endpoint = options.get("endpoint") or ""
        text = of("AZURE_STORAGE_CONNECTION_STRING")
        if text and not account and not endpoint:
            service = BlobServiceClient.from_connection_string(text, **limits)
        else:
            service = BlobServiceClient(_azure_endpoint(account, endpoint), _azure_credential(options), **limits)
        self._container = service.get_container_client(bucket)

    def get(self, path: str, start: int, end: Optional[int], write: Write) -> None:
        """Write an object's bytes from `start` up to `end`, or to its end."""
        part = {"offset": start, "length": None if end is None else end - start} if start or end is not None else {}
        for piece in self._container.download_blob(self._key(path), max_concurrency=1, **part).chunks():
            write(piece)

    def list(self, folder: str) -> List[Listed]:
        """The objects below a folder."""
        blobs = self._container.list_blobs(name_starts_with=self._key(folder) + "/")
        return [Listed(self._path(blob.name), blob.last_modified.timestamp()) for blob in blobs]

    def put_new(self, path: str, data: bytes) -> bool:
        """Make an object unless there is one."""
        from azure.core.exceptions import ResourceExistsError

        try:
            self._container.upload_blob(self._key(path), data, overwrite=False)
        except ResourceExistsError:
            return False
        return True

    def fault(self, error: BaseException) -> Fault:
        """What an exception means."""
        status = getattr(error, "status_code", None)
        if status:
            headers = getattr(getattr(error, "response", None), "headers", None)
            return of_status(int(status), str(getattr(error, "error_code", "") or ""), headers)
        if type(error).__name__ in ("ClientAuthenticationError", "CredentialUnavailableError"):
            return Fault(FORBIDDEN, "no credentials")
        return Fault(CUT, reason_of(error))


def _azure_endpoint(account: str, endpoint: str) -> str:
    if endpoint:
        return endpoint if "://" in endpoint else "https://" + endpoint
    if account:
        return "https://%s.blob.core.windows.net" % account
    try:
        from metaflow.metaflow_config import AZURE_STORAGE_BLOB_SERVICE_ENDPOINT as OF_METAFLOW
    except ImportError:
        OF_METAFLOW = ""
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") or os.environ.get("AZURE_STORAGE_ACCOUNT") or ""
    if account and not OF_METAFLOW:
        return "https://%s.blob.core.windows.net" % account
    if not OF_METAFLOW:
        raise Misconfigured(
            "the storage account of the cache is unknown: set `account` in [envlock.cache-options], and deploy again"
        )
    return str(OF_METAFLOW)


def _azure_credential(options: Mapping[str, Any]) -> Any:
    of = os.environ.get
    if options.get("anonymous"):
        return None
    key = of("AZURE_STORAGE_ACCOUNT_KEY") or of("AZURE_STORAGE_KEY")
    if key:
        account = options.get("account") or of("AZURE_STORAGE_ACCOUNT_NAME") or of("AZURE_STORAGE_ACCOUNT")
        return {"account_name": account, "account_key": key} if account else key
    if of("AZURE_STORAGE_SAS_TOKEN"):
        return of("AZURE_STORAGE_SAS_TOKEN")
    try:
        from metaflow.plugins.azure.azure_credential import create_cacheable_azure_credential

        return create_cacheable_azure_credential()
    except ImportError:
        raise _no_library("azure-identity", "azure") from None


class GoogleCloudStorage(_Client):
    """A bucket of Google Cloud Storage. Its library's client serves one request at a time: there are several."""

    def __init__(self, bucket: str, prefix: str, host: str, options: Mapping[str, Any], seconds: int) -> None:  # noqa: ARG002
        super().__init__(bucket, prefix)
        try:
            from google.api_core.exceptions import GoogleAPIError
            from google.auth.exceptions import GoogleAuthError
            from requests.exceptions import RequestException
            from urllib3.exceptions import HTTPError
        except ImportError:
            raise _no_library("google-cloud-storage", "gs") from None
        self.raises = (GoogleAPIError, GoogleAuthError, RequestException, HTTPError, OSError)
        self._options = options
        self._idle: List[Any] = []
        self._once = {"timeout": (CONNECT_SECONDS, seconds), "retry": None}

    @contextlib.contextmanager
    def _objects(self) -> Iterator[Any]:
        """The bucket, by a client that no other thread has."""
        try:
            service = self._idle.pop()
        except IndexError:
            service = _gs_service(self._options)
        try:
            yield service.bucket(self._bucket)
        finally:
            self._idle.append(service)

    def get(self, path: str, start: int, end: Optional[int], write: Write) -> None:
        """Write an object's bytes from `start` up to `end`, or to its end."""
        part: Dict[str, Any] = {"start": start} if start or end is not None else {}
        if end is not None:
            part["end"] = end - 1
        with self._objects() as bucket:
            blob = bucket.blob(self._key(path))
            blob.download_to_file(_Sink(write), raw_download=True, checksum=None, **part, **self._once)

    def list(self, folder: str) -> List[Listed]:
        """The objects below a folder."""
        with self._objects() as bucket:
            blobs = bucket.list_blobs(prefix=self._key(folder) + "/", **self._once)
            return [Listed(self._path(blob.name), blob.updated.timestamp()) for blob in blobs]

    def put_new(self, path: str, data: bytes) -> bool:
        """Make an object unless there is one."""
        from google.api_core.exceptions import PreconditionFailed

        try:
            with self._objects() as bucket:
                blob = bucket.blob(self._key(path))
                blob.upload_from_string(data, "application/octet-stream", if_generation_match=0, **self._once)
        except PreconditionFailed:
            return False
        return True

    def fault(self, error: BaseException) -> Fault:
        """What an exception means."""
        status = getattr(error, "code", None)
        if isinstance(status, int):
            # The service gives a missing bucket no name of its own.
            code = "NoSuchBucket" if status == 404 and "bucket does not exist" in str(error) else ""
            return of_status(int(status), code, getattr(getattr(error, "response", None), "headers", None))
        if type(error).__name__ in ("DefaultCredentialsError", "RefreshError"):
            return Fault(FORBIDDEN, "no credentials")
        return Fault(CUT, reason_of(error))


class _Sink:
    """A file that only takes."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def write(self, piece: bytes) -> int:
        self._write(bytes(piece))
        return len(piece)


def _gs_service(options: Mapping[str, Any]) -> Any:
    from google.cloud import storage

    endpoint = options.get("endpoint")
    own = {"client_options": {"api_endpoint": endpoint}} if endpoint else {}
    if options.get("anonymous"):
        from google.auth.credentials import AnonymousCredentials

        return storage.Client(project="envlock", credentials=AnonymousCredentials(), **own)
    if endpoint:
        return storage.Client(**own)
    try:
        from metaflow.plugins.gcp.gs_storage_client_factory import get_gs_storage_client
    except ImportError:
        return storage.Client()
    return get_gs_storage_client()


_CLIENTS: Dict[str, Callable[..., Any]] = {
    "s3": _s3,
    "az": Azure,
    "abfs": Azure,
    "abfss": Azure,
    "gs": GoogleCloudStorage,
    "gcs": GoogleCloudStorage,
}


def _no_library(name: str, scheme: str) -> Misconfigured:
    return Misconfigured(
        "this image has no %s, which a cache at %s:// is read with: install it in the image, or use the datastore of "
        "Metaflow that brings it" % (name, scheme)
    )
