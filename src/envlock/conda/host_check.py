"""Check whether the host of a channel answers at all, when an answer is slow.

py-rattler's client has one time limit, for whole files, and that must let large ones over slow lines pass.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from envlock.conda.channels import without_secrets
from envlock.conda.errors import ChannelFailure
from envlock.reporter import asking

if TYPE_CHECKING:
    from envlock.conda.client import Place

Answer = TypeVar("Answer")

PATIENCE = 5.0
"""Seconds until hosts are checked, and that each then has to start answering: a dead host is reported after ten."""


async def while_alive(make: Callable[[], Coroutine[Any, Any, Answer]], places: Sequence[Place]) -> Answer:
    """What the coroutine that is made answers; ended when it lasts and one of the hosts that it may wait for is silent.

    Raises ChannelFailure.
    """
    task = asyncio.ensure_future(make())
    pause = PATIENCE
    try:
        while not (await asyncio.wait({task}, timeout=pause))[0]:
            silent = await asyncio.to_thread(first_silent, places)
            if silent is not None and not task.done():
                raise ChannelFailure("unreachable", silent.base, "it does not answer")
            pause *= 2
        return task.result()
    finally:
        task.cancel()


def first_silent(places: Sequence[Place]) -> Place | None:
    """The first place whose host does not start answering in time. Any answer counts, even a proxy's."""
    web = [place for place in places if place.url.startswith(("http:", "https:"))]
    if not web:
        return None
    alive: set[Place] = set()

    def ask(place: Place) -> None:
        if _answers(place):
            alive.add(place)

    # Daemons, since a host that sends its headers byte by byte keeps them for as long as it likes.
    threads = [threading.Thread(target=ask, args=(place,), daemon=True) for place in web]
    end = time.monotonic() + 2 * PATIENCE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return next((place for place in web if place not in alive), None)


def _answers(place: Place) -> bool:
    import httpx

    from envlock.certificates import trusted

    try:
        url = f"{without_secrets(place.url)}/noarch/repodata.json"
        with asking("GET", url), httpx.stream("GET", url, timeout=PATIENCE, verify=trusted()):
            return True
    except httpx.TimeoutException:
        return False
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
        return True  # refused or broken, which py-rattler finds out by itself
