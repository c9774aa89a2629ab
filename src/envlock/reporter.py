"""Progress, as a port: the phases tell what happens, and never how it is shown."""

from __future__ import annotations


class Reporter:
    """Is told what goes on; does nothing. The command line draws it, tests record it.

    Every method may be called from any thread.
    """

    def began(self, phase: str, total: int, unit: str) -> None:
        """`phase` starts and has `total` parts of `unit` ("environments", "bytes", "packages")."""

    def grew(self, phase: str, amount: int) -> None:
        """The phase turns out to have `amount` parts more than was told when it began."""

    def advanced(self, phase: str, item: str, amount: int = 1) -> None:
        """`amount` more of the phase is done; `item` names what was just worked on."""

    def doing(self, phase: str, item: str) -> None:
        """`item` is being worked on now."""

    def ended(self, phase: str) -> None:
        """The phase is over."""

    def noted(self, message: str) -> None:
        """Something the user should know, which is no failure."""

    def warned(self, message: str) -> None:
        """Something that the user should look at."""
