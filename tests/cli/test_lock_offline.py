"""`envlock lock --offline`: what is kept of indexes and channels on this machine has to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.channel import Channel, data_package
from tests.conftest import Envlock
from tests.support import ProjectFolder

PYTHON = data_package("python", "3.12.1")


def test_a_channel_that_was_read_is_not_requested_again(
    make_channel: Callable[..., Channel], project: ProjectFolder, envlock: Envlock
) -> None:
    served = make_channel(PYTHON, data_package("tool", "1.0"), data_package("other", "1.0"))
    text = f'[env.demo]\nconda = {{ libraries = {{ tool = "" }}, channels = ["{served.url_of("main")}"] }}'
    settings = "metaflow-requirements = false\nchannels = []"
    project.write(text, settings=settings)
    envlock("lock")
    served.close()

    project.write(text.replace('tool = ""', 'tool = "", other = ""'), settings=settings)
    assert envlock("lock", "--offline").moved == {"other 1.0 added"}


def test_a_channel_that_was_never_read(
    make_channel: Callable[..., Channel], project: ProjectFolder, envlock: Envlock
) -> None:
    served = make_channel(PYTHON)
    project.write(
        f'[env.demo]\nconda = {{ python = "3.12", channels = ["{served.url_of("main")}"] }}',
        settings="metaflow-requirements = false\nchannels = []",
    )
    said = envlock("lock", "--offline", check=4).text
    assert served.url_of("main") in said
    assert "without `--offline`" in said
    assert not served.requests


def test_an_index_that_was_read_is_not_requested_again(
    project: ProjectFolder,
    envlock: Envlock,
    make_index: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: object,
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", f"{tmp_path}/uv")
    project.write(
        '[env.demo.pypi]\npackages = { alpha = "", beta = "" }', settings="metaflow-requirements = false\nchannels = []"
    )
    envlock("lock")
    project.write('[env.demo.pypi]\npackages = { alpha = "" }', settings="metaflow-requirements = false\nchannels = []")
    envlock("lock", "--offline", "--upgrade")
    assert project.pins() == {"alpha": "2.0", "beta": "2.0"}


def test_an_index_that_was_never_read(
    project: ProjectFolder, envlock: Envlock, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", f"{tmp_path}/cold")
    project.write('[env.demo.pypi]\npackages = { alpha = "" }', settings="metaflow-requirements = false\nchannels = []")
    said = envlock("lock", "--offline", check=4).text
    assert "error[index-unreachable]" in said
    assert "without `--offline`" in said
