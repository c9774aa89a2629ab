"""How a registry asks for a login, and the answers: a password, or a token from another server.

Text in, values out; nothing here asks anybody. Sources: RFC 7235, and the token and OAuth2 specifications of the
distribution project.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit

from envlock.errors import one_line
from envlock.files import json_of
from envlock.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from envlock.image.docker_login import Login

_SECONDS = 60
"""How long a token counts if who gave it does not say, by the token specification."""
_MARGIN = 0.8
"""The part of that time in which a token is used: a request takes a while to arrive."""
_LONGEST_REASON = 300
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"


class Token(NamedTuple):
    """A bearer token, and when it ends by the clock that it was made with."""

    value: str
    ends: float

    def __repr__(self) -> str:
        """Names no secret, so that none can reach a log or a traceback."""
        return "Token(...)"


class TokenRequest(NamedTuple):
    """What to ask the place of tokens."""

    method: str
    url: str
    headers: Mapping[str, str]
    form: Mapping[str, str] | None

    def __repr__(self) -> str:
        """Names no secret."""
        return "TokenRequest(...)"


def challenges(text: str) -> dict[str, dict[str, str]]:
    """What WWW-Authenticate headers, joined by commas, ask for: the parameters of each scheme, in lower case.

    >>> challenges('Bearer realm="https://auth.example/token",service="r",scope="repository:a:pull,push"')["bearer"]
    {'realm': 'https://auth.example/token', 'service': 'r', 'scope': 'repository:a:pull,push'}
    >>> sorted(challenges('Basic realm="a, b", Bearer realm="c"'))
    ['basic', 'bearer']
    """
    found: dict[str, dict[str, str]] = {}
    parameters: dict[str, str] = {}
    for match in re.finditer(rf'({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))|({_WORD})', text):
        name, quoted, plain, scheme = match.groups()
        if scheme is not None:
            parameters = found.setdefault(scheme.lower(), {})
        else:
            parameters[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
    return found


def basic(login: Login) -> str:
    """The header for a user name and a password."""
    return "Basic " + b64encode(f"{login.username}:{login.password}".encode()).decode()


def token_request(challenge: Mapping[str, str], scopes: Sequence[str], login: Login | None) -> TokenRequest | None:
    """How to ask for a token that allows `scopes`; None if the challenge names no place that gives one.

    >>> token_request({"realm": "https://auth.example/token", "service": "r"}, ["repository:a:pull"], None).url
    'https://auth.example/token?service=r&scope=repository%3Aa%3Apull'
    """
    realm = challenge.get("realm", "")
    try:
        parts = urlsplit(realm)
    except ValueError:
        return None
    if not parts.hostname or "@" in parts.netloc:
        return None
    service = challenge.get("service", "")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "envlock"}
    if login is not None and login.identity_token:
        form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": "envlock"}
        return TokenRequest("POST", realm, headers, {**form, "service": service, "scope": " ".join(scopes)})
    if login is not None:
        headers["Authorization"] = basic(login)
    query = urlencode([*([("service", service)] if service else []), *(("scope", each) for each in scopes)])
    whole = "&".join(filter(None, (parts.query, query)))
    return TokenRequest("GET", parts._replace(query=whole, fragment="").geturl(), headers, None)


def token_of(data: bytes, now: float) -> Token | None:
    """The token in an answer that came now; None if there is none that can be sent.

    >>> token_of(b'{"access_token": "abc", "expires_in": 300}', now=0.0).ends
    240.0
    """
    try:
        found = json_of(data)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    value, seconds = found.get("token") or found.get("access_token"), found.get("expires_in")
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
        return None
    lasts = seconds if isinstance(seconds, int) and 0 < seconds < 1 << 31 else _SECONDS
    return Token(value, now + lasts * _MARGIN)


def without_secrets(text: str, login: Login | None, tokens: Iterable[Token]) -> str:
    """A text of a registry's, fit for a message, even if it repeats what we sent.

    >>> without_secrets("the token abcd is wrong", None, [Token("abcd", 0.0)])
    'the token ... is wrong'
    """
    own = (*login, basic(login).partition(" ")[2]) if login is not None else ()
    for secret in (*own, *(token.value for token in tokens)):
        if len(secret) > 3:
            text = text.replace(secret, "...")
    return one_line(redact(text))[:_LONGEST_REASON]
