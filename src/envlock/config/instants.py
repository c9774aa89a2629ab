"""`exclude-newer`: an instant, a day, or a span before now."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_SPAN = re.compile(r"(\d+)\s*(h|hours?|d|days?|w|weeks?)\Z|P(\d+)([DW])\Z", re.IGNORECASE)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_HOURS = {"h": 1, "d": 24, "w": 168}
_LONGEST = 1000 * 366 * 24


def span_of(text: str) -> timedelta | None:
    """The span of a text; None if it is no span, or longer than a thousand years.

    >>> span_of("7d") == span_of("1 week") == span_of("P7D")
    True
    >>> span_of("2026-11-01") is None, span_of("9999999d") is None
    (True, True)
    """
    match = _SPAN.match(text.strip())
    if match is None:
        return None
    number, unit = match[1] or match[3], match[2] or match[4]
    hours = int(number) * _HOURS[unit[0].lower()] if len(number) < 10 else _LONGEST + 1
    return timedelta(hours=hours) if hours <= _LONGEST else None


def absolute_instant(text: str) -> str:
    """The instant of a text, as RFC 3339 in UTC; of a day, its end.

    >>> absolute_instant("2026-11-01"), absolute_instant("2026-11-01T12:00:00+02:00")
    ('2026-11-02T00:00:00Z', '2026-11-01T10:00:00Z')

    Raises ValueError.
    """
    text = text.strip()
    try:
        if _DAY.match(text):
            moment = datetime.fromisoformat(text).replace(tzinfo=timezone.utc) + timedelta(days=1)
        else:
            moment = datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
            moment = moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    except OverflowError:
        raise ValueError(f"{text} is beyond the year 9999") from None
    return format_instant(moment)


def format_instant(moment: datetime) -> str:
    """The instant as RFC 3339 in UTC, to the second."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
