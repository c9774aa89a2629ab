"""No secret of a URL is left in a text, however the URL is written."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from envlock.redaction import redact, without_credentials

TEXTS = [
    "https://me:s3cret@index.example/simple/",
    "https://me:s3cret@[::1]:8080/simple/?token=s3cret",
    "see (https://index.example/a[b]?token=s3cret) and {https://me:s3cret@index.example}",
    'https://me:"s3cret@index.example/',
    "https://me:${TOKEN:-s3cret word}@index.example/",
    "https://${USER}:s3cret${PASSWORD}@index.example/",
    "https://me:pa/s3cret#a?b@index.example/simple/",
    "https://index.example/simple/?token=${A B}s3cret",
    "https://a@s3cret:b@index.example/x",
]


@pytest.mark.parametrize("read", [redact, without_credentials])
@pytest.mark.parametrize("text", TEXTS)
def test_no_secret_is_left(read: Callable[[str], str], text: str) -> None:
    assert "s3cret" not in read(text)


@pytest.mark.parametrize(
    "text",
    [
        *("https//me:s3cret@index.example/", "me:s3cret@index.example", "https:/me:s3cret@x/"),
        *("//me:s3cret@index.example/", "://me:s3cret@x/", "htp:/me:s3cret@x/", "ftp//:s3cret@[::1]/"),
    ],
)
def test_a_slip_in_writing_a_url_hides_its_secret(text: str) -> None:
    assert "s3cret" not in without_credentials(text)


@pytest.mark.parametrize(
    "text", ["https://index.example/a/b-1.0.whl", "s3://bucket/${FOLDER}/x", "C:/x", "team/base:v1@3"]
)
@pytest.mark.parametrize("read", [redact, without_credentials])
def test_what_has_no_secret_stays(read: Callable[[str], str], text: str) -> None:
    assert read(text) == text


@pytest.mark.parametrize("piece", ["${A}", "$", "${", "a@", "x://", "[", "a:", "//", ":/a:"])
@pytest.mark.parametrize("read", [redact, without_credentials])
def test_a_long_text_takes_no_long_time(read: Callable[[str], str], piece: str) -> None:
    began = time.process_time()
    read("https://" + piece * 2000)
    assert time.process_time() - began < 1
