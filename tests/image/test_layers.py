"""The layers of an image: which packages share one, and bytes that depend on nothing else."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from backports import zstd

from envlock.image.errors import NotForImage
from envlock.image.layers import (
    COMPRESSIONS,
    GZIP,
    MOST_LAYERS,
    OWN_LAYER_BYTES,
    SHARED_LAYERS,
    Layer,
    LayerFile,
    folder_layer,
    package_layers,
    refuse_whiteouts,
    write_layer,
)
from envlock.pack.tree import BINARY, TEXT, TreeFile

PREFIX = "/opt/envlock/environment"
SIZES = {f"small-{number}": 1000 + number for number in range(40)} | {
    f"large-{number}": OWN_LAYER_BYTES << number for number in range(4)
}


def tree(sizes: dict[str, int]) -> list[TreeFile]:
    """A file for each package, and one of the environment's own. What is in them is asked of nobody here."""
    files = [TreeFile(f"lib/{name}.so", Path(name), "", n, False, "", f"wheel/{name}") for name, n in sizes.items()]
    return [*files, TreeFile("conda-meta/history", Path("history"), "", 10, False, "", "")]


def members(data: bytes, compression: str = GZIP) -> dict[str, tarfile.TarInfo]:
    raw = gzip.decompress(data) if compression == GZIP else zstd.decompress(data)
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {member.name: member for member in tar}


def named(layers: list[Layer]) -> dict[str, set[str]]:
    return {layer.name: {file.path for file in layer.files} for layer in layers}


def test_a_large_package_has_a_layer_of_its_own_and_the_others_share_a_few() -> None:
    layers = package_layers(tree(SIZES), PREFIX)
    assert [layer.name for layer in layers[:4]] == ["large-3", "large-1", "large-2", "large-0"]
    shared = layers[4:]
    assert len(shared) <= SHARED_LAYERS
    assert {path for layer in shared for path in named(shared)[layer.name]} == {
        f"opt/envlock/environment/lib/{name}.so" for name in SIZES if name.startswith("small")
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [({"small-7": 1007}, {"small-7": 2000}), ({}, {"new": 5}), ({}, {"large-1": OWN_LAYER_BYTES * 2 + 1})],
    ids=["a small one changes", "one comes", "a large one changes"],
)
def test_what_one_package_does_changes_one_layer(before: dict[str, int], after: dict[str, int]) -> None:
    old = package_layers(tree(SIZES | before), PREFIX)
    new = package_layers(tree(SIZES | after), PREFIX)
    assert len({layer.files for layer in new} - {layer.files for layer in old}) == 1


def test_there_are_never_more_layers_than_a_storage_driver_stacks() -> None:
    sizes = {f"package-{number}": OWN_LAYER_BYTES * (1 + number % 5) for number in range(300)}
    assert len(package_layers(tree(sizes), PREFIX)) <= MOST_LAYERS
    for most in (1, 2, 3, 20, 24, 25):
        assert 0 < len(package_layers(tree(sizes), PREFIX, most=most)) <= most


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_same_files_give_the_same_bytes_wherever_and_however_they_lie(tmp_path: Path, compression: str) -> None:
    digests = set()
    for place, umask, moment in (("one", 0o022, 1_000_000), ("two", 0o077, 2_000_000)):
        folder = tmp_path / place
        before = os.umask(umask)
        try:
            (folder / "bin").mkdir(parents=True)
            (folder / "bin" / "tool").write_bytes(b"#!/bin/sh\n")
            (folder / "bin" / "tool").chmod(0o755 & ~umask)
            (folder / "größe.txt").write_bytes(b"x" * 5000)
            (folder / "link").symlink_to("bin/tool")
        finally:
            os.umask(before)
        for each in (folder / "bin" / "tool", folder / "bin", folder):
            os.utime(each, (moment, moment))
        layer = folder_layer("a folder", folder, "/opt/x")
        if place == "two":
            layer = layer._replace(files=layer.files[::-1])
        packed = write_layer(layer, tmp_path, compression)
        data = packed.file.read_bytes()
        assert packed.descriptor.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert packed.descriptor.size == len(data)
        digests.add((packed.descriptor.digest, packed.diff_id, packed.raw_size))
    assert len(digests) == 1
    found = members(data, compression)
    assert list(found) == ["opt", "opt/x", "opt/x/bin", "opt/x/bin/tool", "opt/x/größe.txt", "opt/x/link"]
    modes = {name: stat.S_IMODE(member.mode) for name, member in found.items()}
    assert (modes["opt/x/bin"], modes["opt/x/bin/tool"], modes["opt/x/größe.txt"]) == (0o755, 0o755, 0o644)
    assert found["opt/x/link"].linkname == "bin/tool"
    assert {(each.uid, each.gid, each.uname, each.mtime) for each in found.values()} == {(0, 0, "", 315532800)}


def test_the_placeholder_of_conda_packages_becomes_the_prefix(tmp_path: Path) -> None:
    placeholder = "/opt/envlock_placeholder".ljust(255, "_")
    contents = {
        "text": f"prefix={placeholder}\nlib={placeholder}/lib\n".encode(),
        "binary": f"\0{placeholder}/lib:{placeholder}/share\0rest\0".encode(),
        "none": placeholder.encode(),
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    files = [
        TreeFile(name, tmp_path / name, "", len(contents[name]), False, kind, "conda/tool")
        for name, kind in (("text", TEXT), ("binary", BINARY), ("none", ""))
    ]
    (layer,) = package_layers(files, PREFIX, placeholder)
    data = write_layer(layer, tmp_path).file.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:
        found = {Path(each.name).name: tar.extractfile(each).read() for each in tar if each.isfile()}  # type: ignore[union-attr]
    assert found["text"] == f"prefix={PREFIX}\nlib={PREFIX}/lib\n".encode()
    assert found["binary"].rstrip(b"\0") == f"\0{PREFIX}/lib:{PREFIX}/share".encode() + b"\0" * 462 + b"\0rest"
    assert len(found["binary"]) == len(contents["binary"])
    assert found["none"] == contents["none"]


def test_a_file_may_be_a_piece_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "together").write_bytes(b"before12345after")
    (tmp_path / "alone").write_bytes(b"12345")
    layers = [LayerFile("f", tmp_path / "together", size=5, start=6), LayerFile("f", tmp_path / "alone", size=5)]
    one, other = (write_layer(Layer("x", (each,)), tmp_path).descriptor for each in layers)
    assert one == other


def test_a_file_that_became_shorter_is_no_layer(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    layer = Layer("x", (LayerFile("file", tmp_path / "file", size=6),))
    with pytest.raises(OSError, match="shorter"):
        write_layer(layer, tmp_path)


@pytest.mark.parametrize("path", ["lib/.wh.alpha", ".wh..wh..opq", "lib/.wh.a/b"])
def test_a_file_whose_name_deletes_another_one_is_in_no_image(path: str) -> None:
    plain = TreeFile("lib/x.wh.", None, "y", 0, executable=False, prefix="", package="wheel/alpha")
    refuse_whiteouts("Train/start", [plain])
    with pytest.raises(NotForImage) as caught:
        refuse_whiteouts("Train/start", [plain, plain._replace(path=path)])
    assert path in caught.value.message
    assert "alpha" in caught.value.render()
