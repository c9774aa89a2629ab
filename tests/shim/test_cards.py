"""What a card says of packages that conda and uv have put into one prefix."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.shim.test_environment import metaflow


def test_wheels_and_conda_packages_of_one_prefix_are_listed_once(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python{}.{}".format(*sys.version_info[:2]) / "site-packages"
    for name, version, installer in (("Alpha", "1.1", "uv"), ("numpy", "2.0", "conda")):
        folder = site / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "INSTALLER").write_text(f"{installer}\n")
    records = tmp_path / "conda-meta"
    records.mkdir()
    record = {"name": "numpy", "version": "2.0", "build": "py311_0", "subdir": "linux-64"}
    channel = "https://channel.example/conda-forge/linux-64/"
    (records / "numpy-2.0-py311_0.json").write_text(json.dumps({**record, "channel": channel}))
    (records / "zlib-1.3-h1.json").write_text(json.dumps({"name": "zlib", "version": "1.3", "build": "h1"}))
    (records / "broken.json").write_text("{")
    found = metaflow(
        f"""
import json
from metaflow_extensions.envlock.plugins.cards.environment import packages_in
print(json.dumps(packages_in({str(tmp_path)!r})))
"""
    )
    assert found == [
        ["Alpha", "1.1", "PyPI"],
        ["numpy", "2.0", "conda py311_0 conda-forge"],
        ["zlib", "1.3", "conda h1"],
    ]
