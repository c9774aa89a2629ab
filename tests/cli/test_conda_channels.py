"""What `envlock lock` asks of conda channels."""

from __future__ import annotations

from collections.abc import Callable

from tests.channel import Channel, data_package
from tests.conftest import Envlock
from tests.support import ProjectFolder


def test_four_archs_read_the_common_part_of_a_channel_once(
    make_channel: Callable[..., Channel], project: ProjectFolder, envlock: Envlock
) -> None:
    served = make_channel(data_package("python", "3.12.1"), data_package("tool", "1.0"))
    served.slow("*", seconds=0.05)  # so that the archs are under way together
    project.write(f'[env.demo]\nconda = {{ libraries = {{ tool = "" }}, channels = ["{served.url_of("main")}"] }}')
    envlock("lock")

    assert len(project.locks) == 4
    read = [each for each in served.requests if each.path.startswith("main/noarch/repodata.json")]
    assert [each.status for each in read if each.method == "GET"] == [200]
