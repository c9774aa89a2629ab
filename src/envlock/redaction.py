"""Texts of others, fit for a message: without the credentials in their URLs, on one line, not too long."""

from __future__ import annotations

import re

from envlock.model.url import strip_channel_credentials, strip_credentials

_VARIABLE = r"\$\{[^}\n]*\}"
# Schemes are short: without a bound, a long word costs the square of its length. A password may hold what elsewhere
# ends a URL, and a variable may hold a space. One alternative fits each character, or backtracking would never end.
URL_IN_TEXT = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.-]{{0,40}}://(?:(?:{_VARIABLE}|\$(?!\{{[^}}\n]*\}})|[^\s/?#@$])*@)*"
    rf"(?:{_VARIABLE}|\$(?!\{{[^}}\n]*\}})|[^\s\"'`<>|\\^$])*"
)
"""A URL in a sentence, with its user name and password."""
_ALMOST_URL = re.compile(r"\b(https?(?::/*|/+)|(?:s3|gs):/?(?!/))[^\s/@\"']*@", re.IGNORECASE)
"""How a URL begins that was written with a slip, up to the end of its user name and password."""
# What may stand before a user name is no part of it, and a password has an end, or many of them would cost the square.
_NO_SCHEME = re.compile(r"(?<![^\s\"'`=\[(])[^\s\"'`:@/=\[(]+:(?![:/])[^\s\"'`@]{1,4000}@(?=[\w\[])")
"""A user name and a password before a host, where no scheme stands before them."""
_SLIPPED_SCHEME = re.compile(r"(:/+|//+)[^\s/:@\"'`]{0,4000}:[^\s/@\"'`]{1,4000}@(?=[\w\[$])")
"""A user name and a password behind the end of a scheme that is none: `//me:pw@host`, `htp:/me:pw@host`."""
_TOKEN = re.compile(r"https?://.*/t/", re.IGNORECASE)


def redact(text: str) -> str:
    """What a program printed, its URLs without user name, password, query and fragment.

    >>> redact("error: https://me:pw@index.example/simple/?token=1 answered 401 (see `git+ssh://me@code.example/x`)")
    'error: https://index.example/simple/ answered 401 (see `git+ssh://code.example/x`)'
    """
    return URL_IN_TEXT.sub(lambda match: strip_credentials(match[0]), text)


def without_credentials(text: str) -> str:
    """What a user wrote, without credentials: as `redact`, and also for slips in writing a URL and conda's tokens.

    >>> without_credentials("index-url = 'https://me:pw@index.example/simple/'")
    "index-url = 'https://index.example/simple/'"
    >>> without_credentials('channels = ["https://conda.example/t/secret/team"]')
    'channels = ["https://conda.example/team"]'
    >>> without_credentials("https//me:pw@index.example/simple/")
    'https//index.example/simple/'
    >>> without_credentials("s3:/me:pw@team/envlock")
    's3:/team/envlock'
    >>> without_credentials("`me:pw@index.example::rich`")
    '`index.example::rich`'
    >>> without_credentials("https://me:pw${TOKEN:-a b}@index.example/simple/")
    'https://index.example/simple/'
    """
    text = _ALMOST_URL.sub(r"\1", URL_IN_TEXT.sub(lambda url: _stripped(url[0]), text))
    return _SLIPPED_SCHEME.sub(r"\1", _NO_SCHEME.sub("", text))


def _stripped(url: str) -> str:
    # Where a key is a URL, the keys before it look like a part of its scheme: `env.base.conda.libraries.https`.
    start = url.rfind(".", 0, url.index("://")) + 1
    rest = strip_credentials(url[start:])
    return url[:start] + (strip_channel_credentials(rest) if _TOKEN.match(rest) else rest)


def shown(text: str, longest: int = 80) -> str:
    r"""What a user wrote, fit for a message: on one line, not too long, without credentials and control characters.

    >>> shown("two\nlines"), len(shown("x" * 1000))
    ('two\\nlines', 80)
    """
    text = without_credentials(text)
    if not text.isprintable():
        text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
