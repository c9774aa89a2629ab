"""Many things at once, of which some never end."""

from __future__ import annotations

import threading
from functools import partial

from envlock.workflow.machine.deadlines import all_within


def test_as_many_as_a_machine_may_know_do_not_need_a_thread_each() -> None:
    before, most = threading.active_count(), 0

    def answer(number: int) -> int:
        nonlocal most
        most = max(most, threading.active_count() - before)
        if number % 10 == 3:
            raise ValueError(number)
        return number

    answers = all_within([partial(answer, number) for number in range(3000)], 20)
    assert [each for each in answers if isinstance(each, int)] == [each for each in range(3000) if each % 10 != 3]
    assert [each.args[0] for each in answers if isinstance(each, ValueError)] == [*range(3, 3000, 10)]
    assert most <= 200


def test_what_hangs_holds_up_nobody_else() -> None:
    ended = threading.Event()
    hanging = [partial(ended.wait, 30)] * 5
    answers = all_within([*hanging, *(partial(bool, number) for number in (0, 1))], 0.3)
    assert answers == [None] * 5 + [False, True]
    ended.set()
