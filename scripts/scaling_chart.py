"""A chart of lines as an SVG, for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

_WIDTH, _HEIGHT = 820, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 605, 44, 328
_LIGHT = {"a": "#c2410c", "b": "#0969da", "c": "#7c3aed", "d": "#1a7f37"}
_DARK = {"a": "#ff9b6a", "b": "#58a6ff", "c": "#bc8cff", "d": "#56d364"}


class Line(NamedTuple):
    """A line: when each of all has started, in order."""

    name: str
    color: str
    """One of `a` to `d`."""
    ends: Sequence[float]
    is_dashed: bool = False


def _style() -> str:
    def colors(of: dict[str, str]) -> str:
        return " ".join(f".{name} {{ stroke: {value} }} text.{name} {{ fill: {value} }}" for name, value in of.items())

    return f"""\
text {{ font: 13px system-ui, sans-serif; fill: #24292f; stroke: none !important }}
.title {{ font-weight: 600; font-size: 15px }} .grid {{ stroke: #d0d7de }} .quiet {{ fill: #57606a }}
polyline {{ fill: none; stroke-width: 2.5; stroke-linejoin: round }} .many {{ stroke-dasharray: 6 4 }}
{colors(_LIGHT)}
@media (prefers-color-scheme: dark) {{
text {{ fill: #e6edf3 }} .grid {{ stroke: #30363d }} .quiet {{ fill: #8d96a0 }}
{colors(_DARK)}
}}"""


def chart(title: str, total: int, lines: Sequence[Line]) -> str:
    """How many of `total` have started, over seconds."""
    longest = 50 * (int(max(line.ends[-1] for line in lines) / 50) + 1)

    def x(seconds: float) -> str:
        return f"{_LEFT + (_RIGHT - _LEFT) * seconds / longest:.1f}"

    def y(share: float, more: int = 0) -> str:
        return f"{_BOTTOM - (_BOTTOM - _TOP) * share + more:.1f}"

    def text(kind: str, x: str | int, y: str | int, said: str, anchor: str = "start") -> str:
        return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{said}</text>'

    drawn = [text("title", _LEFT, 22, title)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawn.append(f'<path class="grid" d="M{_LEFT} {y(share)}H{_RIGHT}"/>')
        drawn.append(text("quiet", _LEFT - 8, y(share, 4), f"{share * total:,.0f}", "end"))
    drawn += [text("quiet", x(each), _BOTTOM + 20, str(each), "middle") for each in range(0, longest + 1, 50)]
    drawn.append(text("quiet", (_LEFT + _RIGHT) // 2, _BOTTOM + 38, "seconds", "middle"))
    for place, line in enumerate(lines):
        look = f"{line.color} many" if line.is_dashed else line.color
        corners = [f"{x(0)},{y(0)}", f"{x(line.ends[0])},{y(0)}"]
        corners += [f"{x(end)},{y((number + 1) / len(line.ends))}" for number, end in _some(line.ends)]
        drawn.append(f'<polyline class="{look}" points="{" ".join(corners)}"/>')
        row = _TOP + 10 + 46 * place
        drawn.append(f'<polyline class="{look}" points="{_RIGHT + 14},{row - 4} {_RIGHT + 40},{row - 4}"/>')
        drawn.append(text(line.color, _RIGHT + 46, row, line.name))
        drawn.append(text("quiet", _RIGHT + 46, row + 16, f"the last: {line.ends[-1]:.0f} s"))
    shape = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {shape}>\n<style>\n{_style()}\n</style>'
    return "\n".join([head, *drawn, "</svg>", ""])


def _some(ends: Sequence[float]) -> Iterator[tuple[int, float]]:
    """As many of the ends as a line needs, with the last one."""
    step = max(1, len(ends) // 60)
    yield from ((number, ends[number]) for number in range(0, len(ends) - 1, step))
    yield len(ends) - 1, ends[-1]
