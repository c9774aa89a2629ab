"""What the tests of CI share: a code host, which has no comment yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.code_hosts import CodeHost


@pytest.fixture
def host() -> Iterator[CodeHost]:
    served = CodeHost()
    yield served
    served.close()
