"""What decompresses parts: the image's libzstd, Python's own module, or the libzstd in the wheel of the kit."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from metaflow_extensions.envlock.plugins.node import zstd
from metaflow_extensions.envlock.plugins.node.zstd import BadFrame, by_module, open_zstd
from tests.node.nodes import oldest_python
from tests.node.packs import compressed

NODE = Path(zstd.__file__).parent
RAW = b"of a part " * 1000


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit's wheel of backports.zstd, unpacked."""
    if sys.version_info >= (3, 14):
        pytest.skip("backports.zstd is for older Pythons")
    folder = tmp_path_factory.mktemp("zstd")
    for file in metadata.files("backports.zstd") or ():
        if file.suffix == ".so":
            place = folder / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_binary())
    return folder


def of_image(_: pytest.FixtureRequest) -> zstd.Decompress | None:
    return open_zstd()


def of_kit(request: pytest.FixtureRequest) -> zstd.Decompress | None:
    return open_zstd(str(request.getfixturevalue("wheel")))


def of_python(_: pytest.FixtureRequest) -> zstd.Decompress | None:
    if sys.version_info >= (3, 14):
        from compression import zstd as module
    else:
        from backports import zstd as module
    return by_module(module)


@pytest.fixture(params=[of_image, of_kit, of_python], ids=lambda each: each.__name__)
def decompress(request: pytest.FixtureRequest) -> zstd.Decompress:
    found: zstd.Decompress | None = request.param(request)
    assert found is not None
    return found


def test_it_decompresses_into_a_buffer_that_may_be_larger(decompress: zstd.Decompress) -> None:
    data = compressed(RAW)
    source, target = bytearray(data + b"rest"), bytearray(len(RAW) + 7)
    decompress(source, len(data), target, len(RAW))
    assert target == RAW + bytes(7)
    source.clear()
    target.clear()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no frame",
        compressed(RAW)[:-1],
        compressed(RAW) + b"x",
        compressed(RAW + b"x"),
        compressed(RAW[:-1]),
        compressed(bytes(1 << 26)),
    ],
    ids=["empty", "other", "cut", "goes on", "longer", "shorter", "bomb"],
)
def test_what_is_not_one_frame_of_that_size_is_refused(decompress: zstd.Decompress, data: bytes) -> None:
    target = bytearray(len(RAW))
    with pytest.raises(BadFrame):
        decompress(bytearray(data), len(data), target, len(RAW))
    assert len(target) == len(RAW)


@pytest.mark.parametrize("breaks", ["no ctypes", "no library", "another library"])
def test_an_image_without_libzstd_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, breaks: str) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("Python has its own")
    if breaks == "no ctypes":
        monkeypatch.setitem(sys.modules, "ctypes", None)
    else:
        monkeypatch.setattr(zstd, "_LIBRARY", "libc.so.6" if breaks == "another library" else "libno.so.1")
    assert open_zstd() is None


@pytest.mark.parametrize("name", ["_zstd.cpython-312-x86_64-linux-gnu.so", "_zstd.py"])
def test_a_kit_that_cannot_be_loaded_has_none(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "backports" / "zstd"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"no library")
    assert open_zstd(str(tmp_path)) is None
    assert open_zstd(str(tmp_path / "nowhere")) is None


def test_the_kits_library_is_loaded_by_other_pythons_than_that_of_the_wheel(wheel: Path) -> None:
    data = compressed(RAW)
    code = (
        f"import sys; sys.path.insert(0, {str(NODE.parents[3])!r})\n"
        "from metaflow_extensions.envlock.plugins.node.zstd import open_zstd\n"
        f"target = bytearray({len(RAW)})\n"
        f"open_zstd({str(wheel)!r})(bytearray({data!r}), {len(data)}, target, {len(RAW)})\n"
        f"assert target == {RAW[:10]!r} * 1000"
    )
    subprocess.run([oldest_python(), "-I", "-c", code], check=True)
