"""The ids that were published for the reference implementation."""

from __future__ import annotations

import pytest

from envlock.model.identity import netflix_req_id

SOURCES = {"conda": ["conda-forge"]}
ALWAYS = ["boto3==>=1.14.0", "cffi==>=1.13.0,!=1.15.0", "pyarrow==>=0.17.1", "python==>=3.8,<3.9", "requests==>=2.21.0"]


@pytest.mark.parametrize(
    ("packages", "req_id"),
    [
        (["pandas==1.4.0,>=0.24.0", "fastavro==>=1.6.0"], "42a4ed94b63f12e1fe9dd29de21bf9ec6e271b1c"),
        (["pandas==1.5.0,>=0.24.0", "fastavro==>=1.6.0"], "3e07a415e7766b8ed359f00e5f48e35ec79ac056"),
        (["pandas==1.4.0,>=0.24.0"], "b7b01560a5e30245d7aa963834acc9c4fd199674"),
        (
            ["pandas==>=0.24.0", "numpy==1.21.5", "fastavro==>=1.6.0"],
            "d49465b2b45996e40aad1f3aaf00cba553a0f085",
        ),
        (
            ["pandas==>=0.24.0", "numpy==1.21.5", "fastavro==>=1.6.0", "itsdangerous==2.1.2"],
            "91fd3cca65416fc4f2efe971520bbf1c4095d85c",
        ),
    ],
)
def test_published_ids(packages: list[str], req_id: str) -> None:
    assert netflix_req_id({"conda": [*ALWAYS, *packages]}, SOURCES) == req_id
    assert netflix_req_id({"conda": [*reversed(packages), *ALWAYS], "pypi": []}, SOURCES) == req_id
