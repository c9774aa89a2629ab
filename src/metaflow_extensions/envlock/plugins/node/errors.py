"""Why a task cannot start in its environment: one line that names what to do, and envlock's exit status."""

from __future__ import annotations

import os

_LONGEST = 1000
_URL = r"(\b[A-Za-z][A-Za-z0-9+.-]{0,40}://)(?:[^\s/?#@]*@)*([^\s?#\"'`<>]*)[^\s\"'`<>]*"


class NodeError(Exception):
    """The environment cannot be made on this node.

    Its text is one line: what was found, then what to do. It is made fit for a log: no line breaks, nothing that steers
    a terminal, no credentials and queries of URLs.
    """

    status = 5

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(one_line(text))
        if status is not None:
            self.status = status


class DiskFull(NodeError):
    """There is no room for the environment."""


class Missing(NodeError):
    """Something that the task needs was never made, or is gone: an alias, an arch, a plan, an object."""

    status = 1


class Misconfigured(NodeError):
    """The flow, the image or the cache is set up in a way that cannot work."""

    status = 2


class Damaged(NodeError):
    """Bytes are not what a plan, a manifest or a hash says. They were not used."""

    status = 3


def one_line(text: object) -> str:
    r"""A text of others as a part of a line.

    >>> one_line("no answer from https://me:pw@store.example/team?token=1\n\x1b[2J")
    'no answer from https://store.example/team ?[2J'
    """
    import re  # takes what two other modules take, and most tasks start

    line = " ".join(str(text).split())
    line = "".join(each if each.isprintable() else "?" for each in re.sub(_URL, r"\1\2", line))
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "..."


def described(error: Exception) -> str:
    """A defect for a message: the exception, and the line that raised it."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = "" if at is None else " (%s:%d)" % (os.path.basename(at.tb_frame.f_code.co_filename), at.tb_lineno)
    return "%s: %s%s" % (type(error).__name__, " ".join(str(error).split()), where)
