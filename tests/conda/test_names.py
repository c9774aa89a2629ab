"""Names of conda packages and of what is in them, from the shipped mapping."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from envlock.conda import names
from envlock.conda.names import conda_name, pypi_names
from scripts.derive_pypi_names import derive

DATA = Path(names.__file__).parent / "data"


@pytest.mark.parametrize(
    ("conda", "pypi"),
    [
        ("numpy", ("numpy",)),
        ("pytorch", ("torch",)),
        ("PyTorch-CPU", ("torch",)),
        ("python-tzdata", ("tzdata",)),
        ("typing_extensions", ("typing-extensions",)),
        ("ruamel.yaml", ("ruamel-yaml",)),
        ("matplotlib-base", ("matplotlib",)),
        ("ray-core", ("ray",)),  # once bundled nine others
        ("python", ()),
        ("tzdata", ()),
        ("ffmpeg", ()),
        ("something-of-ours", ("something-of-ours",)),
        ("Something_of.ours", ("something-of-ours",)),
    ],
)
def test_what_is_in_a_conda_package(conda: str, pypi: tuple[str, ...]) -> None:
    assert pypi_names(conda) == pypi


@pytest.mark.parametrize(
    ("pypi", "conda"),
    [
        ("numpy", "numpy"),
        ("torch", "pytorch"),
        ("tzdata", "python-tzdata"),
        ("Typing.Extensions", "typing_extensions"),
        ("msgpack", "msgpack-python"),
        ("opencv-python", "py-opencv"),
        ("matplotlib", "matplotlib"),
        ("setuptools", "setuptools"),
        ("boto3", "boto3"),
        ("Something_of.ours", "something-of-ours"),
    ],
)
def test_which_conda_package_a_distribution_is_in(pypi: str, conda: str) -> None:
    assert conda_name(pypi) == conda


def test_the_data_is_small_and_has_its_licence_and_source() -> None:
    assert (DATA / "pypi_names.txt.gz").stat().st_size < 150_000
    assert "BSD 3-Clause" in (DATA / "LICENSE").read_text()
    assert "prefix-dev/parselmouth" in (DATA / "SOURCE.md").read_text()
    packages, _, distributions = gzip.decompress((DATA / "pypi_names.txt.gz").read_bytes()).decode().partition("\n\n")
    for lines in (packages, distributions):
        first = [line.partition(" ")[0] for line in lines.splitlines()]
        assert first == sorted(set(first))


def test_nothing_is_read_before_it_is_needed() -> None:
    code = """
import sys, envlock.conda.names as names
assert not names._sections.cache_info().misses
assert names.pypi_names("pytorch") == ("torch",) and names.conda_name("torch") == "pytorch"
assert "rattler" not in sys.modules and "packaging" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_derived() -> None:
    packages, distributions = derive(
        {
            "numpy": ["numpy"],
            "Both_Spelt": ["both.spelt"],
            "pytorch": ["torch"],
            "pytorch-cpu": ["torch"],
            "libnothing": None,
            "bundler": ["bundler", "numpy", "torch", "only-here"],
            "numpy-base": ["numpy", "torch"],
            "mess": ["numpy", "torch"],
        }
    )
    assert packages == [
        "bundler bundler only-here",
        "libnothing",
        "mess",
        "numpy-base numpy",
        "pytorch torch",
        "pytorch-cpu torch",
    ]
    assert distributions == ["both-spelt Both_Spelt", "only-here bundler", "torch pytorch"]
