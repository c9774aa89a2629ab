"""Progress: what is seen of long work, what of short, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from envlock.cli import progress
from envlock.cli.console import console, print_as
from envlock.cli.progress import QUIET_SECONDS, LiveReporter


def plain() -> Console:
    return Console(file=io.StringIO(), width=100, markup=False, highlight=False)


def terminal() -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=100, markup=False, highlight=False, _environ={"TERM": "xterm"}
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def work(reporter: LiveReporter, seconds: float) -> None:
    reporter.began("Resolving", 3, "environments")
    reporter.doing("Resolving", "Train/start on linux-64")
    time.sleep(seconds)
    reporter.advanced("Resolving", "Train/start on linux-64")
    reporter.ended("Resolving")


@pytest.mark.parametrize("make", [plain, terminal])
def test_short_work_shows_nothing(make: type) -> None:
    console = make()
    with LiveReporter(console) as reporter:
        work(reporter, 0)
    assert written(console) == ""


def test_short_work_does_not_even_import_rich(capfd: pytest.CaptureFixture[str]) -> None:
    import subprocess

    code = (
        "import sys\nfrom envlock.cli.progress import LiveReporter\n"
        "with LiveReporter() as r:\n    r.began('a', 1, 'x'); r.advanced('a', 'b'); r.ended('a'); r.noted('seen')\n"
        "sys.exit(any(name in sys.modules for name in ('rich', 'typer')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "note: seen\n")


def test_long_work_leaves_one_line_a_phase_where_there_is_no_terminal() -> None:
    console = plain()
    with LiveReporter(console) as reporter:
        work(reporter, QUIET_SECONDS + 0.1)
    assert re.fullmatch(r"Resolving: 1 environment in [0-9.]+ s\n", written(console))


def test_long_work_is_drawn_on_a_terminal_and_wiped_at_the_end() -> None:
    console = terminal()
    with LiveReporter(console) as reporter:
        work(reporter, QUIET_SECONDS + 0.5)
    text = written(console)
    assert "0/3 environments" in re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "Train/start on linux-64" in text
    after = text.rpartition("\x1b[2K")[2].replace("\x1b[?25h", "").replace("\r", "")
    assert re.fullmatch(r"Resolving: 1 environment in [0-9.]+ s\n", after)


def test_notes_and_warnings_are_always_seen() -> None:
    console = plain()
    with LiveReporter(console) as reporter:
        reporter.noted("pandas[sql] is old")
        reporter.warned("look at this")
    assert written(console) == "note: pandas[sql] is old\nwarning: look at this\n"


def test_nothing_in_a_bar_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    try:
        print_as(color="always")
        with LiveReporter(drawn := console(stderr=True)) as reporter:
            reporter.began("Fetching", 100, "bytes")
            reporter.began("Hydrating", 3, "packages")
            for _ in range(3):
                reporter.advanced("Fetching", "rich.whl", 20)
                drawn.print(progress._Bars(drawn, reporter._phases, reporter._lock).draw())
        colours = set(re.findall(r"\x1b\[([0-9;]*)m", sys.stderr.getvalue()))  # type: ignore[attr-defined]
        assert "36" in colours
        assert not {code for each in colours for code in each.split(";")} & {"31", "35", "91", "95"}
    finally:
        print_as()


def frame(reporter: LiveReporter, console: Console) -> str:
    """What is drawn of the phases as they are now."""
    bars = progress._Bars(console, reporter._phases, reporter._lock)
    console.print(bars.draw())
    return written(console)


def test_bytes_have_sizes_and_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = plain()
    console.get_time = lambda: now[0]
    reporter = LiveReporter(console)
    reporter.began("Pushing", 4_000_000, "bytes")
    reporter.grew("Pushing", 1_000_000)
    bars = progress._Bars(console, reporter._phases, reporter._lock)
    for at in (1.0, 2.0):
        now[0] = at
        reporter.advanced("Pushing", "rich.whl", 1_500_000)
        bars.draw()
    console.print(bars.draw())
    reporter.ended("Pushing")
    assert re.match(r"Pushing .* 3.0/5.0 MB 1.5 MB/s *\n", written(console))
    assert "rich.whl" in written(console)
    assert written(console).endswith("Pushing: 3.0 MB in 2.0 s\n")


def test_many_things_in_work_are_counted() -> None:
    reporter = LiveReporter(plain())
    reporter.began("Resolving", 40, "environments")
    for number in range(40):
        reporter.doing("Resolving", f"step{number}")
    shown = frame(reporter, plain())
    assert re.match(r"Resolving .* 0/40 environments *\n", shown)
    assert "step5" in shown
    assert "step6" not in shown
    assert "and 34 more" in shown


def test_a_phase_and_a_thing_that_are_done_are_drawn_no_more() -> None:
    reporter = LiveReporter(plain())
    bars = progress._Bars(plain(), reporter._phases, reporter._lock)
    reporter.began("Resolving", 2, "environments")
    reporter.began("Fetching", 10, "bytes")
    reporter.doing("Resolving", "[one]")
    bars.draw()
    reporter.advanced("Resolving", "[one]")
    reporter.doing("Resolving", "two")
    reporter.ended("Fetching")
    console = plain()
    console.print(bars.draw())
    assert [line.split()[0] for line in written(console).splitlines()] == ["Resolving", "⠋"]
    assert "1/2 environments" in written(console)
    assert "two" in written(console)


def test_a_spinner_turns() -> None:
    now = [0.0]
    console = plain()
    console.get_time = lambda: now[0]
    reporter = LiveReporter(console)
    reporter.began("Resolving", 1, "environments")
    reporter.doing("Resolving", "one")
    bars = progress._Bars(console, reporter._phases, reporter._lock)
    for at in (0.0, 0.25):
        now[0] = at
        console.print(bars.draw())
    first, second = (line for line in written(console).splitlines() if "one" in line)
    assert first != second


def test_any_thread_may_report_progress() -> None:
    console = terminal()
    with LiveReporter(console) as reporter, ThreadPoolExecutor(16) as pool:
        reporter.began("Working", 3200, "parts")

        def many(number: int) -> None:
            for part in range(200):
                reporter.doing("Working", f"{number}.{part}")
                reporter.advanced("Working", f"{number}.{part}")
                time.sleep(0.002)

        list(pool.map(many, range(16)))
        assert reporter._phases["Working"].done == 3200
        assert reporter._phases["Working"].items == {}
        reporter.ended("Working")


def test_an_interrupt_leaves_no_thread_behind() -> None:
    before = threading.active_count()

    def interrupted() -> None:
        with LiveReporter(terminal()) as reporter:
            reporter.began("Working", 1, "parts")
            time.sleep(QUIET_SECONDS + 0.2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    until = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.02)
    assert threading.active_count() == before


def test_notes_from_many_threads_while_it_draws_never_wait_for_each_other() -> None:
    console = terminal()
    with LiveReporter(console) as reporter, ThreadPoolExecutor(8) as pool:
        reporter.began("Working", 8, "parts")
        time.sleep(QUIET_SECONDS + 0.1)

        def talk(number: int) -> None:
            for part in range(50):
                reporter.doing("Working", f"{number}.{part}")
                reporter.noted(f"note {number}.{part} ")
                time.sleep(0.01)

        done = [pool.submit(talk, number) for number in range(8)]
        for each in done:
            each.result(timeout=60)
    assert all(f"note: note {number}.{part} " in written(console) for number in range(8) for part in range(50))


def test_work_that_ends_as_drawing_begins_leaves_nothing_drawn() -> None:
    for delay in (-0.02, -0.01, 0, 0.005, 0.01, 0.02):
        console = terminal()
        with LiveReporter(console) as reporter:
            reporter.began("Working", 1, "parts")
            time.sleep(QUIET_SECONDS + delay)
        shown = written(console)
        time.sleep(0.15)
        assert written(console) == shown
        assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h"), "the cursor is shown again"


def test_a_phase_that_nobody_opened_is_passed_over() -> None:
    console = plain()
    with LiveReporter(console) as reporter:
        reporter.doing("x", "y")
        reporter.advanced("x", "y")
        reporter.grew("x", 1)
        reporter.ended("x")
    assert written(console) == ""
