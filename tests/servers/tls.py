"""A certificate authority of the tests' own, which whoever asks over https has to be told of."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """An authority that vouches for `localhost`, and for `127.0.0.1`."""

    def __init__(self, folder: Path) -> None:
        """Its certificate is written into a folder."""
        authority = trustme.CA()
        self.file = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.file))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(self.context)
