"""What a user wrote, fit for a message."""

from __future__ import annotations

import re

from envlock.model.url import strip_channel_credentials, strip_credentials

# Schemes are short: without a bound, a long word costs the square of its length.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,40}://(?:\$\{[^}\n]*\}|[^\s\"'\]}])+")
_ALMOST_URL = re.compile(r"\b(https?(?::/*|/+))[^\s/@\"']*@", re.IGNORECASE)
"""How a URL begins that was written with a slip, up to the end of its user name and password."""
_NO_SCHEME = re.compile(r"(?<![^\s\"'`=\[(])[^\s\"'`:@/]+:(?![:/])[^\s\"'`@]+@(?=[\w\[])")
"""A user name and a password before a host, where no scheme stands before them."""
_TOKEN = re.compile(r"https?://.*/t/", re.IGNORECASE)


def without_credentials(text: str) -> str:
    """The text, its URLs without user names, passwords and queries.

    >>> without_credentials("index-url = 'https://me:pw@index.example/simple/'")
    "index-url = 'https://index.example/simple/'"
    >>> without_credentials('channels = ["https://conda.example/t/secret/team"]')
    'channels = ["https://conda.example/team"]'
    >>> without_credentials("https//me:pw@index.example/simple/")
    'https//index.example/simple/'
    >>> without_credentials("`me:pw@index.example::rich`")
    '`index.example::rich`'
    >>> without_credentials("https://me:pw${TOKEN:-a b}@index.example/simple/")
    'https://index.example/simple/'
    """
    return _NO_SCHEME.sub("", _ALMOST_URL.sub(r"\1", _URL.sub(lambda url: _stripped(url[0]), text)))


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
