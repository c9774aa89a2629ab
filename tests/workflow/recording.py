"""A reporter that remembers what it was told."""

from __future__ import annotations

import threading

from envlock.reporter import Reporter


class Recorder(Reporter):
    """Counts each phase, and keeps notes and warnings."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.over: list[str] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def began(self, phase: str, total: int, unit: str) -> None:
        with self.lock:
            self.totals[phase] = total
            self.done[phase] = 0

    def grew(self, phase: str, amount: int) -> None:
        with self.lock:
            self.totals[phase] += amount

    def advanced(self, phase: str, item: str, amount: int = 1) -> None:
        with self.lock:
            self.done[phase] += amount

    def ended(self, phase: str) -> None:
        with self.lock:
            self.over.append(phase)

    def noted(self, message: str) -> None:
        with self.lock:
            self.notes.append(message)

    def warned(self, message: str) -> None:
        with self.lock:
            self.warnings.append(message)
