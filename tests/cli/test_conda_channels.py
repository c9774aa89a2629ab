"""What `envlock lock` asks of conda channels."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from envlock.lockfile.folder import read_lock
from envlock.model.arch import ARCHS
from tests.channel import Channel, data_package
from tests.conftest import Envlock
from tests.support import ProjectFolder, files_holding


def test_four_archs_read_the_common_part_of_a_channel_once(
    make_channel: Callable[..., Channel], project: ProjectFolder, envlock: Envlock
) -> None:
    served = make_channel(data_package("python", "3.12.1"), data_package("tool", "1.0"))
    served.slow("*", seconds=0.05)  # so that the archs are under way together
    project.write(
        f'[env.demo]\nconda = {{ libraries = {{ tool = "" }}, channels = ["{served.url_of("main")}"] }}',
        settings="channels = []",
        archs=ARCHS,
    )
    envlock("lock")

    assert len(project.locks) == 4
    read = [each for each in served.requests if each.path.startswith("main/noarch/repodata.json")]
    assert [each.status for each in read if each.method == "GET"] == [200]


def test_names_that_only_conda_has(
    make_channel: Callable[..., Channel], project: ProjectFolder, envlock: Envlock
) -> None:
    served = make_channel(
        data_package("_libgcc_mutex", "0.1"),
        data_package("_openmp_mutex", "4.5", depends=["_libgcc_mutex"]),
        data_package("python", "3.12.1", depends=["_openmp_mutex"]),
        data_package("tool", "1.0", depends=["_openmp_mutex"]),
        data_package("libstdcxx-ng", "14.1", {"share/__odd": ""}),
        data_package("_x86_64-microarch-level", "2"),
    )
    table = '[env.demo]\nconda = {{ libraries = {{ tool = "", {} }}, channels = ["{}"] }}'
    project.write(table.format('_x86_64-microarch-level = ">=1"', served.url_of("main")), settings="channels = []")
    envlock("lock")
    served.publish(data_package("_openmp_mutex", "4.6", depends=["_libgcc_mutex"]))

    project.write(
        table.format('_x86_64-microarch-level = ">=2", libstdcxx-ng = ""', served.url_of("main")),
        settings="channels = []",
    )
    assert "libstdcxx-ng 14.1 added" in envlock("lock").moved
    assert envlock("check").stdout.startswith("fresh")
    assert "_openmp_mutex 4.5 4.6 upgraded" in envlock("lock", "--upgrade-package", "_openmp_mutex").moved
    assert "_x86_64-microarch-level" in envlock("show", "demo").stdout
    served.publish(data_package("_libgcc_mutex", "0.2"))
    assert "_libgcc_mutex 0.1 0.2 upgraded" in envlock("lock", "-P", "_LibGCC_mutex").moved
    envlock("remove", "--conda", "_x86_64-microarch-level")
    assert "_x86_64-microarch-level 2 removed" in envlock("lock").moved
    envlock("add", "--conda", "_x86_64-microarch-level>=2")
    assert "_x86_64-microarch-level 2 added" in envlock("lock", "--upgrade").moved


def test_all_archs_get_python_of_one_series(
    make_channel: Callable[..., Channel], project: ProjectFolder, envlock: Envlock
) -> None:
    served = make_channel(
        *(data_package("python", "3.12.1", subdir=arch) for arch in ARCHS),
        *(data_package("python", "3.13.0", subdir=arch) for arch in ARCHS if arch != "osx-64"),
        data_package("tool", "1.0", depends=["python"]),
    )
    table = f'[env.demo]\nconda = {{ libraries = {{ tool = "" }}, channels = ["{served.url_of("main")}"] }}'
    project.write(table, settings="metaflow-requirements = false\nchannels = []", archs=ARCHS)
    said = envlock("lock").text
    assert "CPython 3.12" in said
    assert "CPython 3.13" not in said
    assert {read_lock(path).python.version for path in project.locks} == {"3.12.1"}


def test_an_arch_that_cannot_have_the_older_python_says_so_and_the_others_have_it(
    make_channel: Callable[..., Channel], project: ProjectFolder, envlock: Envlock
) -> None:
    served = make_channel(
        data_package("python", "3.12.1", subdir="linux-64"),
        *(data_package("python", version, subdir="linux-aarch64") for version in ("3.12.1", "3.13.0")),
        data_package("python", "3.13.0", subdir="osx-arm64"),
    )
    table = f'[env.demo]\nconda = {{ python = ">=3.12", channels = ["{served.url_of("main")}"] }}'
    project.write(
        table, settings="metaflow-requirements = false\nchannels = []", archs=["linux-64", "linux-aarch64", "osx-arm64"]
    )
    said = envlock("lock").text
    assert said.count("note: CPython 3.12, which another arch has, is not available here") == 1
    assert {lock.arch: lock.python.version for lock in map(read_lock, project.locks)} == {
        "linux-64": "3.12.1",
        "linux-aarch64": "3.12.1",
        "osx-arm64": "3.13.0",
    }


def test_a_channel_of_one_package_alone_from_config_to_run(
    private_channel: Channel, conda_project: ProjectFolder, tmp_path: Path, envlock: Envlock
) -> None:
    url = private_channel.url_of("private")
    secret = url.replace("http://", "http://${WHO}:${PASSWORD}@")
    variables = {"WHO": "reader", "PASSWORD": "s3cr3t-passw0rd"}
    conda_project.write_conda_env(archs=["linux-64"], settings="metaflow-requirements = false")
    added = envlock("add", "--conda", "secret>=2", "lower", "--channel", secret, env=variables)
    assert added.stdout.startswith(f'+ "{url}::secret" = ">=2"')
    envlock("remove", "--conda", "lower")
    envlock("add", "--conda", "lower")
    said = envlock("lock", "-v", env=variables).text + envlock("push", "-v", env=variables).text
    assert re.search(
        rf"^debug: \[\d+\] solve \d+ conda requirements? for linux-64, with .*{re.escape(url)}", said, re.MULTILINE
    )
    assert re.search(rf"^debug: \[\d+\] request GET {re.escape(url)}/\S+/secret-", said, re.MULTILINE)
    places = {package.name: package.url for package in read_lock(conda_project.lock_of("linux-64")).packages}
    assert places["secret"].startswith(f"{url}/")
    assert not places["lower"].startswith(url)
    assert envlock("check").stdout.startswith("fresh")
    assert "s3cr3t" not in said
    assert files_holding("s3cr3t-passw0rd", tmp_path) == set()
