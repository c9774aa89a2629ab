"""Whether the host of a channel answers at all: asked only when an answer is long in coming.

py-rattler's client has one time limit, for whole files, and that must let large ones over slow lines pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from envlock.conda.channels import without_secrets
from envlock.conda.errors import ChannelFailure

if TYPE_CHECKING:
    from envlock.conda.client import Place

Answer = TypeVar("Answer")

PATIENCE = 5.0
"""Seconds until hosts are asked, and that each then has to begin an answer: a dead one is told of after ten."""


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
    """The first of the places whose host begins no answer in time. Any answer counts, also that of a proxy."""
    web = [place for place in places if place.url.startswith(("http:", "https:"))]
    if not web:
        return None
    with ThreadPoolExecutor(len(web)) as pool:
        return next((place for place, alive in zip(web, pool.map(_answers, web), strict=True) if not alive), None)


def _answers(place: Place) -> bool:
    import httpx

    try:
        with httpx.stream("GET", f"{without_secrets(place.url)}/noarch/repodata.json", timeout=PATIENCE):
            return True
    except httpx.TimeoutException:
        return False
    except httpx.HTTPError:
        return True  # refused or broken, which py-rattler finds out by itself
