"""The authorities that requests trust."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from envlock.certificates import trusted


def test_authorities_are_read_once_and_again_where_others_are_to_be_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = trusted()
    assert trusted() is usual
    place = tmp_path / "authority.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(place))
    with pytest.raises(FileNotFoundError):
        trusted()
    trustme.CA().cert_pem.write_to_path(str(place))
    (only,) = trusted().get_ca_certs()
    assert only not in usual.get_ca_certs()
