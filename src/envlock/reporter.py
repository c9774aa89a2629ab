"""The port for progress: phases report what happens, not how it is shown."""

from __future__ import annotations


class Reporter:
    """Progress callbacks; no-op by default. The command line draws them, tests record them.

    Every method may be called from any thread.
    """

    def began(self, phase: str, total: int, unit: str) -> None:
        """`phase` starts, with `total` things of `unit` to do ("locks", "bytes", "packages")."""

    def grew(self, phase: str, amount: int) -> None:
        """The phase has `amount` more to do than was known when it began."""

    def advanced(self, phase: str, item: str, amount: int = 1) -> None:
        """`amount` more of the phase is done; `item` names what was just worked on."""

    def doing(self, phase: str, item: str) -> None:
        """`item` is being worked on now."""

    def ended(self, phase: str) -> None:
        """The phase is over."""

    def noted(self, message: str) -> None:
        """A note for the user."""

    def warned(self, message: str) -> None:
        """A warning for the user."""
