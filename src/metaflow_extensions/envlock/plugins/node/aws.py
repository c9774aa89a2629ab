"""What AWS's own libraries do before a request, by the standard library: settings, credentials, signatures.

Only what is plain is done here, and as botocore does it: keys in variables or in a profile, web identity, the
credentials of a container, those of an instance. Whatever else is set (single sign-on, roles of profiles, programs that
give credentials, special endpoints) is for botocore: `settings_of` returns None.
"""

from __future__ import annotations

import binascii
import calendar
import hashlib
import hmac
import json
import os
import re
import threading
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union
from urllib.parse import quote, urlencode, urlsplit

from .connections import Connections, Failures, Text, proxies_of

NOTHING = hashlib.sha256(b"").hexdigest()
"""The SHA-256 of no bytes."""
EARLY_SECONDS = 600.0
"""How long before their end credentials are fetched again."""
_METADATA_SECONDS = 2.0
_CONTAINER = "http://169.254.170.2"
_CONTAINER_HOSTS = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost")
_INSTANCE = "http://169.254.169.254"
_INSTANCE_IPV6 = "http://[fd00:ec2::254]"

_FOR_BOTOCORE = (
    *("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_DATA_PATH", "AWS_CREDENTIAL_FILE", "BOTO_CONFIG"),
    *("AWS_DEFAULTS_MODE", "AWS_SIGV4A_SIGNING_REGION_SET", "AWS_IMDS_USE_IPV6"),
)
"""Variables whose meaning is botocore's alone, if they are set."""
_PLAIN_KEYS = (
    *("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "region", "output"),
    *("cli_pager", "cli_history", "cli_auto_prompt", "cli_timestamp_format", "max_attempts", "retry_mode"),
)
"""What a profile may say."""
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d\Z")
_TAGS = re.compile(r"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration|Code)>([^<]+)<")


class NoCredentials(Exception):
    """There are no credentials, or who gives them refuses."""


class Credentials(NamedTuple):
    """What signs requests."""

    key: str
    secret: str
    token: str = ""
    expires: Optional[float] = None
    """In seconds since 1970; None if they do not expire, as far as is known."""


class Source:
    """Credentials, fetched when they are first needed, and again before they expire. Any thread may ask for them."""

    def __init__(self, kind: str, fetch: Callable[[], Credentials]) -> None:
        self.kind = kind
        """`keys`, `profile`, `web identity`, `container`, `instance` or `none`."""
        self._fetch = fetch
        self._guard = threading.Lock()
        self._found: Optional[Credentials] = None

    def get(self) -> Credentials:
        """The credentials. Raises NoCredentials, and Failures if those who give them do not answer."""
        with self._guard:
            found = self._found
            left = None if found is None or found.expires is None else found.expires - time.time()
            if found is None or (left is not None and left < EARLY_SECONDS):
                try:
                    self._found = self._fetch()
                except (NoCredentials, *Failures):
                    if found is None or left is None or left <= 0:
                        raise
            assert self._found is not None
            return self._found

    def forget(self, used: Credentials) -> bool:
        """Fetch others next time, as a server says that these have expired. Whether there may be others."""
        with self._guard:
            if self._found == used:
                self._found = None
        return used.expires is not None


class Settings(NamedTuple):
    """How a bucket is reached."""

    source: Optional[Source]
    """None: requests are not signed."""
    region: str
    endpoint: str
    """The URL of a server other than Amazon's; else empty."""
    is_path_style: bool
    certificates: Union[str, bool, None]
    proxies: Mapping[str, str]


def settings_of(
    environ: Mapping[str, str],
    endpoint: str = "",
    region: str = "",
    profile: str = "",
    anonymous: bool = False,
    params: Optional[Mapping[str, Any]] = None,
) -> Optional[Settings]:
    """What botocore would use, if all of it is plain; else None.

    `endpoint`, `region` and `profile` come before what the environment says; `params` are those of a client of boto3.

    >>> keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "HOME": "/none"}
    >>> found = settings_of({**keys, "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-west-2"})
    >>> found.source.kind, found.region, found.is_path_style
    ('keys', 'us-west-2', False)
    >>> settings_of({**keys, "AWS_USE_FIPS_ENDPOINT": "true"}) is None
    True
    """
    of = environ.get
    if any(of(name) for name in _FOR_BOTOCORE):
        return None
    given = _params(params or {})
    found = _profile_of(environ, profile)
    if given is None or found is None:
        return None
    if not endpoint:
        endpoint = given["endpoint_url"] or ""
    if not endpoint and (of("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") or "").lower() != "true":
        endpoint = of("AWS_ENDPOINT_URL_S3") or of("AWS_ENDPOINT_URL") or ""
    region = region or given["region_name"] or of("AWS_DEFAULT_REGION") or found.get("region") or "us-east-1"
    if not endpoint and (not _REGION.match(region) or "-iso" in region):
        return None
    proxies = proxies_of(environ)
    if any("://" in each and not each.startswith("http://") for name, each in proxies.items() if name != "no"):
        return None
    certificates = given["verify"] if given["verify"] is not None else of("AWS_CA_BUNDLE") or of("REQUESTS_CA_BUNDLE")
    source = None if anonymous else _source_of(environ, found, profile, region, certificates, proxies)
    if source is None and not anonymous:
        return None
    style = given["addressing_style"]
    is_path_style = style != "virtual" if endpoint else style == "path"
    return Settings(source, region, endpoint.rstrip("/"), is_path_style, certificates or None, proxies)


def _params(params: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """The parameters of a client of boto3, if they are plain."""
    found: Dict[str, Any] = {"endpoint_url": None, "region_name": None, "verify": None, "addressing_style": None}
    for name, value in params.items():
        if name == "config" and isinstance(value, dict):
            more = dict(value)
            s3 = more.pop("s3", {})
            for ignored in ("retries", "max_pool_connections", "connect_timeout", "read_timeout", "tcp_keepalive"):
                more.pop(ignored, None)
            if more or not isinstance(s3, dict) or set(s3) - {"addressing_style"}:
                return None
            found["addressing_style"] = s3.get("addressing_style")
        elif name in ("endpoint_url", "region_name") and isinstance(value, str):
            found[name] = value
        elif name == "verify" and isinstance(value, (str, bool)):
            found[name] = None if value is True else value
        elif value is not None:
            return None
    return found


def has_profile(environ: Mapping[str, str], profile: str) -> bool:
    """Whether the files of AWS's tools have a profile."""
    found = _sections(environ, profile)
    return found is None or bool(found)


def _profile_of(environ: Mapping[str, str], profile: str) -> Optional[Dict[str, str]]:
    """What the files of AWS's tools say of the profile in force; empty without files, None if that is not plain."""
    named = profile or environ.get("AWS_DEFAULT_PROFILE") or environ.get("AWS_PROFILE") or ""
    sections = _sections(environ, named or "default")
    if sections is None or (named and not sections):
        return None
    found = {name: value for section in sections for name, value in section.items()}
    return found if set(found) <= set(_PLAIN_KEYS) else None


def _sections(environ: Mapping[str, str], profile: str) -> Optional[List[Dict[str, str]]]:
    """The sections of a profile, what counts last; None if there is a file that is botocore's to read."""
    home = environ.get("HOME") or os.path.expanduser("~")
    if os.path.isfile(os.path.join(home, ".boto")) or os.path.isfile("/etc/boto.cfg"):
        return None
    found: List[Dict[str, str]] = []
    for variable, name in (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")):
        path = environ.get(variable) or os.path.join("~", ".aws", name)
        path = os.path.join(home, path[2:]) if path.startswith("~/") else path
        if not os.path.isfile(path):
            continue
        import configparser

        parsed = configparser.RawConfigParser(default_section="")
        try:
            parsed.read(path, encoding="utf-8")
        except (configparser.Error, OSError, ValueError):
            return None
        wanted = [profile] if name == "credentials" or profile == "default" else []
        wanted += ["profile " + profile] if name == "config" else []
        found += [dict(parsed.items(each)) for each in wanted if parsed.has_section(each)]
    return found


def _source_of(
    environ: Mapping[str, str],
    found: Mapping[str, str],
    profile: str,
    region: str,
    certificates: Union[str, bool, None],
    proxies: Mapping[str, str],
) -> Optional[Source]:
    """The first of the sources that botocore asks, in its order; None if botocore would not make a plain one of it."""
    of = environ.get
    if not profile and (of("AWS_ACCESS_KEY_ID") or of("AWS_SECRET_ACCESS_KEY")):
        keys = Credentials(
            of("AWS_ACCESS_KEY_ID") or "",
            of("AWS_SECRET_ACCESS_KEY") or "",
            of("AWS_SESSION_TOKEN") or of("AWS_SECURITY_TOKEN") or "",
        )
        is_whole = bool(keys.key and keys.secret) and not of("AWS_CREDENTIAL_EXPIRATION")
        return Source("keys", lambda: keys) if is_whole else None
    if not profile and of("AWS_WEB_IDENTITY_TOKEN_FILE"):
        far = Connections(_METADATA_SECONDS * 5, certificates, proxies)
        return Source("web identity", lambda: _of_web_identity(environ, region, far)) if of("AWS_ROLE_ARN") else None
    if found.get("aws_access_key_id") or found.get("aws_secret_access_key"):
        keys = Credentials(
            found.get("aws_access_key_id", ""),
            found.get("aws_secret_access_key", ""),
            found.get("aws_session_token", ""),
        )
        return Source("profile", lambda: keys) if keys.key and keys.secret else None
    if profile:
        return None
    near = Connections(_METADATA_SECONDS)  # never by a proxy
    if of("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or of("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return Source("container", lambda: _of_container(environ, near))
    if (of("AWS_EC2_METADATA_DISABLED") or "").lower() != "true":
        return Source("instance", lambda: _of_instance(environ, near))
    return Source("none", _none)


def _none() -> Credentials:
    raise NoCredentials


def _of_web_identity(environ: Mapping[str, str], region: str, connections: Connections) -> Credentials:
    """The credentials that STS gives for a token in a file, which is read again each time: it is rotated."""
    try:
        with open(environ["AWS_WEB_IDENTITY_TOKEN_FILE"], encoding="utf-8") as file:
            token = file.read()
    except (OSError, ValueError):
        raise NoCredentials from None
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": environ["AWS_ROLE_ARN"],
        "RoleSessionName": environ.get("AWS_ROLE_SESSION_NAME") or "envlock-%d" % time.time(),
        "WebIdentityToken": token,
    }
    url = environ.get("AWS_ENDPOINT_URL_STS") or environ.get("AWS_ENDPOINT_URL")
    if not url or (environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") or "").lower() == "true":
        url = "https://sts.%s.%s" % (region, domain_of(region))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = connections.send("POST", url.rstrip("/") + "/", headers, urlencode(form).encode()).text()
    _check(answer)
    found = dict(_TAGS.findall(answer.body.decode("utf-8", "replace")))
    return _credentials(found, "AccessKeyId", "SecretAccessKey", "SessionToken")


def _of_container(environ: Mapping[str, str], connections: Connections) -> Credentials:
    """The credentials of a container of ECS or EKS."""
    of = environ.get
    relative = of("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    url = _CONTAINER + relative if relative else of("AWS_CONTAINER_CREDENTIALS_FULL_URI") or ""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise NoCredentials from None
    is_near = host in _CONTAINER_HOSTS or host == "::1" or host.startswith("127.")
    if not is_near and parts.scheme != "https":  # the token would be read on the way
        raise NoCredentials
    token = of("AWS_CONTAINER_AUTHORIZATION_TOKEN") or ""
    if of("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        try:
            with open(of("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") or "", encoding="utf-8") as file:
                token = file.read().strip()
        except (OSError, ValueError):
            raise NoCredentials from None
    if "\r" in token or "\n" in token:
        raise NoCredentials
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = token
    answer = connections.send("GET", url, headers).text()
    _check(answer)
    return _credentials(_json(answer.body), "AccessKeyId", "SecretAccessKey", "Token")


def _of_instance(environ: Mapping[str, str], connections: Connections) -> Credentials:
    """The credentials of an instance's role, by version 2 of its metadata service, or version 1 where that is all."""
    of = environ.get
    mode = (of("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE") or "").lower()
    url = of("AWS_EC2_METADATA_SERVICE_ENDPOINT") or (_INSTANCE_IPV6 if mode == "ipv6" else _INSTANCE)
    root = url.rstrip("/") + "/latest/"
    lifetime = {"x-aws-ec2-metadata-token-ttl-seconds": "21600"}
    try:
        answer = connections.send("PUT", root + "api/token", lifetime).text()
    except ValueError:
        raise NoCredentials from None
    except Failures:
        raise NoCredentials from None  # as on every machine that is no instance
    headers = {"x-aws-ec2-metadata-token": answer.body.decode("ascii", "replace")} if answer.status == 200 else {}
    if not headers and (of("AWS_EC2_METADATA_V1_DISABLED") or "").lower() == "true":
        raise NoCredentials
    folder = root + "meta-data/iam/security-credentials/"
    roles = connections.send("GET", folder, headers).text()
    _check(roles)
    role = roles.body.decode("utf-8", "replace").split("\n")[0].strip()
    answer = connections.send("GET", folder + quote(role, safe="/"), headers).text()
    _check(answer)
    return _credentials(_json(answer.body), "AccessKeyId", "SecretAccessKey", "Token")


def _check(answer: Text) -> None:
    """Raise NoCredentials for a refusal, ConnectionError for a failure that may pass."""
    if answer.status >= 500 or answer.status == 429:
        raise ConnectionError
    if answer.status != 200:
        raise NoCredentials


def _json(body: bytes) -> Dict[str, str]:
    try:
        found = json.loads(body.decode("utf-8"))
    except ValueError:
        raise NoCredentials from None
    return found if isinstance(found, dict) else {}


def _credentials(found: Mapping[str, Any], *names: str) -> Credentials:
    key, secret, token = (found.get(name) for name in names)
    if not (isinstance(key, str) and isinstance(secret, str) and key and secret):
        raise NoCredentials
    return Credentials(key, secret, str(token or ""), seconds_of(str(found.get("Expiration") or "")) or None)


def seconds_of(text: str) -> float:
    """The seconds since 1970 of a time as AWS writes it, which is in UTC; 0 for what is none.

    >>> seconds_of("2026-11-30T19:45:00Z") - seconds_of("2026-11-30T19:44:59.000Z")
    1.0
    """
    found = re.match(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)", text)
    return float(calendar.timegm(tuple(map(int, found.groups())))) if found else 0.0  # type: ignore[arg-type]


def domain_of(region: str) -> str:
    """The domain of the services of a region."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def signed(
    method: str,
    url: str,
    headers: Mapping[str, str],
    payload: str,
    credentials: Credentials,
    region: str,
    now: Optional[float] = None,
) -> Dict[str, str]:
    """The headers of a request to S3 with its signature, version 4. `payload` is the SHA-256 of its body.

    The URL's path and query are quoted already, and the query is in the order of its names.
    """
    parts = urlsplit(url)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() if now is None else now))
    found = {**headers, "x-amz-date": moment, "x-amz-content-sha256": payload}
    if credentials.token:
        found["x-amz-security-token"] = credentials.token
    covered = {name.lower(): " ".join(value.split()) for name, value in found.items()}
    covered["host"] = parts.netloc
    names = ";".join(sorted(covered))
    lines = [method, parts.path or "/", parts.query]
    lines += ["%s:%s" % (name, covered[name]) for name in sorted(covered)]
    request = "\n".join([*lines, "", names, payload])
    scope: List[str] = [moment[:8], region, "s3", "aws4_request"]
    text = "\n".join(["AWS4-HMAC-SHA256", moment, "/".join(scope), hashlib.sha256(request.encode()).hexdigest()])
    secret = ("AWS4" + credentials.secret).encode()
    for each in scope:
        secret = hmac.new(secret, each.encode(), hashlib.sha256).digest()
    signature = binascii.hexlify(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()
    found["Authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        credentials.key, "/".join(scope), names, signature,
    )  # fmt: skip
    return found


def query_of(values: Mapping[str, str]) -> str:
    """A query in the order and spelling that signatures need."""
    pairs: List[Tuple[str, str]] = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in values.items()
    )
    return "&".join("%s=%s" % pair for pair in pairs)
