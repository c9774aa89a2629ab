"""Golden ids: what they are today, they are for as long as locks of version 1 are read.

A change here changes the name of every environment that anybody has locked. It needs a new version, not a new number.
"""

from __future__ import annotations

import hashlib

import pytest

from envlock.model.arch import LINUX_64, OSX_ARM64
from envlock.model.identity import netflix_req_id
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from tests.support import conda_requirements

NOTHING = Requirements()
PYTHON = Requirements(python="<3.13,>=3.11")
EVERYTHING = Requirements(
    python="==3.12.*",
    python_from="uv",
    pypi=(
        parse_requirement("pandas==2.2.3"),
        parse_requirement("Requests[socks,use_chardet_on_py3]>=2 ; sys_platform == 'linux'"),
        parse_requirement("demo @ https://index.example/demo-1.0-py3-none-any.whl"),
    ),
    metaflow=(parse_requirement("requests>=2.21.0"),),
    indexes=("https://index.example/b", "https://index.example/a"),
    default_index="https://index.example/simple",
    pip_flags=("pre",),
    exclude_newer="2026-11-01T00:00:00Z",
    conda=conda_requirements("conda-forge::ffmpeg >=6"),
    conda_only=conda_requirements("libsndfile"),
    channels=("conda-forge", "bioconda"),
    system=((LINUX_64, "__glibc", "2.28"), (OSX_ARM64, "__osx", "13.0")),
    base="team/base:v1",
)
MACHINE = LockedPython(source="machine", version="3.12.0")
EXACT = LockedPython(
    source="uv",
    version="3.12.9",
    url="https://index.example/p.tar.gz",
    filename="cpython-3.12.9.tar.gz",
    sha256="c" * 64,
)


def package(name: str, version: str, digit: str, *, kind: str = "pypi", build: str = "") -> LockedPackage:
    return LockedPackage(
        name=name,
        version=version,
        filename=f"{name}-{version}-py3-none-any.whl",
        url=f"https://index.example/{name}.whl",
        sha256=digit * 64,
        kind=kind,
        build=build,
    )


@pytest.mark.parametrize(
    ("requirements", "req_id"),
    [
        pytest.param(NOTHING, "bc8c701450110368df6913215c3f78f277d2bd81", id="nothing"),
        pytest.param(PYTHON, "57ea264de14365acd81c9b9b2322f5b3ee2a20dd", id="a Python"),
        pytest.param(EVERYTHING, "cc4cf1732ccae05a031443900c2c25fd5c73b9ef", id="everything"),
    ],
)
def test_req_id(requirements: Requirements, req_id: str) -> None:
    assert requirements.req_id == req_id


@pytest.mark.parametrize(
    ("lock", "full_id"),
    [
        pytest.param(Lock(LINUX_64, NOTHING, MACHINE, ()), "c2fb6f9eaaf976c12fa4d53098e51a7dd52e2cac", id="empty"),
        pytest.param(
            Lock(LINUX_64, NOTHING, MACHINE, (package("click", "8.1.7", "a"), package("rich", "13.9.4", "b"))),
            "4c2ac092a24e42c49185c7661cc88a7a57b591f8",
            id="two packages",
        ),
        pytest.param(
            Lock(OSX_ARM64, EVERYTHING, EXACT, (package("rich", "13.9.4", "b", kind="conda", build="0"),)),
            "7596e380c722d525f472d41c53c0a537fbbdacce",
            id="an exact Python and a build",
        ),
    ],
)
def test_full_id(lock: Lock, full_id: str) -> None:
    assert lock.full_id == full_id
    assert lock.identity == f"{lock.req_id}:{full_id}"
    assert lock.prefix_name == f"metaflow_{lock.req_id}_{full_id}"


def test_the_bytes_that_are_hashed() -> None:
    """Written out once, so that the ids can be computed by anybody, in any language."""
    asked = (
        b"l3:s14:envlock-req_idi1;d13:"
        b"s4:bases0:"
        b"s8:channelsl0:"
        b"s5:condal0:"
        b"s10:conda-onlyl0:"
        b"s13:default-indexs0:"
        b"s13:exclude-newers0:"
        b"s7:indexesl0:"
        b"s8:metaflowl0:"
        b"s9:pip-flagsl0:"
        b"s4:pypil0:"
        b"s6:pythons12:<3.13,>=3.11"
        b"s11:python-froms7:machine"
        b"s6:systeml0:"
    )
    assert hashlib.sha256(asked).hexdigest()[:40] == PYTHON.req_id
    resolved = (
        b"l3:s15:envlock-full_idi1;d2:"
        b"s8:packagesl1:l6:s4:pypis4:richs6:13.9.4s0:s28:rich-13.9.4-py3-none-any.whls64:%s"
        b"s6:pythonl2:s7:machines4:3.12"
    ) % (b"b" * 64)
    resolved_lock = Lock(LINUX_64, NOTHING, MACHINE, (package("rich", "13.9.4", "b"),))
    assert hashlib.sha256(resolved).hexdigest()[:40] == resolved_lock.full_id


def test_what_a_full_id_does_not_see() -> None:
    one = Lock(LINUX_64, NOTHING, MACHINE, (package("click", "8.1.7", "a"), package("rich", "13.9.4", "b")))
    other = Lock(OSX_ARM64, PYTHON, LockedPython(source="machine", version="3.12.9"), one.packages[::-1])
    assert other.full_id == one.full_id


SOURCES = {"conda": ["conda-forge"]}
NEEDED = [
    "boto3==>=1.14.0",
    "cffi==>=1.13.0,!=1.15.0",
    "pyarrow==>=0.17.1",
    "python==>=3.8,<3.9",
    "requests==>=2.21.0",
]


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
def test_the_ids_that_were_published_for_the_reference_implementation(packages: list[str], req_id: str) -> None:
    assert netflix_req_id({"conda": [*NEEDED, *packages]}, SOURCES) == req_id
    assert netflix_req_id({"conda": [*reversed(packages), *NEEDED], "pypi": []}, SOURCES) == req_id
