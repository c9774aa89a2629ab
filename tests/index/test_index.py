"""The index is what the other tests believe it to be: real wheels, real pages, real trouble."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.index import CATALOGUE, DROP, Index, Release
from tests.support import get


def uv(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([find_uv_bin(), *arguments], capture_output=True, text=True, check=check)


def compiled(index: Index, *requirements: str) -> dict[str, str]:
    done = subprocess.run(
        [
            *(find_uv_bin(), "pip", "compile", "-", "--index-url", index.url, "--only-binary", ":all:"),
            *("--python", sys.executable, "--python-version", "3.12.0", "--python-platform", "x86_64-manylinux_2_28"),
            *("--no-header", "--no-annotate"),
        ],
        input="\n".join(requirements),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("==") for line in done.stdout.split())


def test_the_same_recipe_makes_the_same_bytes() -> None:
    again = Release("beta", "2.0", tags=next(r.tags for r in CATALOGUE if (r.name, r.version) == ("beta", "2.0")))
    first = [artifact.sha256 for release in CATALOGUE for artifact in release.artifacts()]
    assert len(set(first)) == len(first)
    assert {artifact.sha256 for artifact in again.artifacts()} <= set(first)


def test_the_catalogue_is_built_in_a_blink() -> None:
    began = time.perf_counter()
    with Index() as served:
        assert served.filenames("alpha")
    assert time.perf_counter() - began < 2


def test_wheels_install_and_import(index: Index, tmp_path: Path) -> None:
    uv("venv", "--python", sys.executable, str(tmp_path / "venv"))
    python = tmp_path / "venv" / "bin" / "python"
    packages = ("alpha", "beta==1.5", "lam", "nu.name_space")
    uv("pip", "install", "--index-url", index.url, "--python", str(python), *packages)
    code = "import alpha, beta, nu_name_space as nu; print(alpha.__version__, beta.PLATFORM, nu.__version__)"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "2.0"
    assert said[1].startswith("py3-none-manylinux")
    lam = subprocess.run([tmp_path / "venv" / "bin" / "lam"], capture_output=True, text=True, check=True)
    assert lam.stdout == "lam 1.0\n"


def test_traits_steer_the_solver(index: Index) -> None:
    assert compiled(index, "alpha", "delta", "kappa", "iota", "xi", "omicron") == {
        "alpha": "2.0",
        "beta": "2.0",
        "delta": "1.0",
        "iota": "2.0",
        "kappa": "1.0",
        "omicron": "1.0",
        "xi": "1.0",
    }
    assert compiled(index, "theta", "eta") == {"alpha": "1.1", "eta": "1.0", "theta": "2.0", "beta": "1.5"}


@pytest.mark.parametrize(("html_only", "metadata"), [(False, True), (True, True), (True, False)])
def test_pages_of_every_kind_are_understood(make_index: Callable[..., Index], html_only: bool, metadata: bool) -> None:
    served = make_index(html_only=html_only, metadata=metadata)
    assert compiled(served, "alpha") == {"alpha": "2.0", "beta": "2.0"}
    assert bool(served.downloads()) is not metadata
    assert any(request.kind == "metadata" for request in served.requests) is metadata


def test_pages_are_revalidated_and_files_come_in_ranges(index: Index) -> None:
    status, page, headers = get(f"{index.url}alpha/")
    assert (status, headers["Content-Type"]) == (200, "text/html")
    assert b"alpha-2.0-py3-none-any.whl" in page
    assert get(f"{index.url}alpha/", If_None_Match=headers["ETag"])[0] == 304
    url = index.file_url("alpha-1.0-py3-none-any.whl")
    data = index.artifact("alpha-1.0-py3-none-any.whl").data
    assert get(url)[1] == data
    assert get(url, Range="bytes=4-9")[:2] == (206, data[4:10])
    assert get(url, Range="bytes=-7")[:2] == (206, data[-7:])
    assert get(f"{index.url}nothing/")[0] == 404
    assert get(index.url)[0] == 200
    assert get(f"{index.base}nothing/")[0] == 404


def test_an_index_can_want_credentials(private_index: Index) -> None:
    assert get(f"{private_index.url}alpha/")[0] == 401
    assert get(f"{private_index.url}alpha/", Authorization="Basic cmVhZGVyOnMzY3IzdC10MGtlbg==")[0] == 200
    assert [(request.status, request.user) for request in private_index.requests] == [(401, ""), (200, "reader")]


def test_trouble_comes_and_goes(make_index: Callable[..., Index]) -> None:
    served = make_index(Release("one", "1.0"), Release("two", "1.0"))
    served.fail("simple/one/", status=503, times=1)
    assert [get(f"{served.url}one/")[0], get(f"{served.url}one/")[0], get(f"{served.url}two/")[0]] == [503, 200, 200]
    served.fail("simple/two/", status=DROP)
    with pytest.raises((OSError, urllib.error.URLError)):
        get(f"{served.url}two/")
    served.tamper("one-1.0-py3-none-any.whl")
    assert get(served.file_url("one-1.0-py3-none-any.whl"))[1] != served.artifact("one-1.0-py3-none-any.whl").data
    served.mend()
    assert get(f"{served.url}two/")[0] == 200


def test_releases_come_and_go(make_index: Callable[..., Index]) -> None:
    served = make_index(Release("one", "1.0"))
    assert compiled(served, "one") == {"one": "1.0"}
    served.publish(Release("one", "1.1"))
    assert compiled(served, "one") == {"one": "1.1"}
    served.yank("one", "1.1")
    assert compiled(served, "one") == {"one": "1.0"}
    served.withdraw("one")
    assert get(f"{served.url}one/")[0] == 404


def test_the_machine_has_no_settings_of_its_own(isolated: Path) -> None:
    assert os.environ["HOME"] == str(isolated)
    assert not list(isolated.iterdir())
    assert [name for name in os.environ if name.startswith(("UV_", "PIP_"))] == ["UV_CACHE_DIR"]
