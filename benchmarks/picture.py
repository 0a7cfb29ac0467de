"""Draws how much dearer another server is, as SVG: a bar a scenario on a logarithmic scale, with the target marked."""

import math
from html import escape

from benchmarks.report import Report

TARGETS = {
    "send_to_many_rooms": 15, "deliver_to_50": 20, "deliver_to_200": 20, "idle_sync": 12, "initial_sync": 12,
}  # fmt: skip
"""How many times the CPU of ours another server is to need at least: design, section 11."""
LEFT, WIDTH, ROW, TOP = 190, 440, 26, 56
DECADES = 3
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.small{font-size:11px;fill:#59636e}.bar{fill:#2f6f9f}"
    ".grid{stroke:#d1d9e0}.target{stroke:#c2410c;stroke-width:2}.back{fill:#fff}"
)


def draw(ours: Report, other: Report, title: str) -> str:
    """Return the picture of CPU time per operation, the other server's over ours."""
    name = "cpu_seconds_per_1000"
    ratios = {each: other.figure(each, name) / ours.figure(each, name) for each in ours.costs if each in other.costs}
    bottom = TOP + ROW * len(ratios)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {bottom + 44}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="back" width="700" height="{bottom + 44}"/><text x="16" y="24">{escape(title)}</text>',
        '<text class="small" x="16" y="42">How many times more CPU time an operation takes there. '
        "The mark is the target.</text>",
    ]
    for number in (1, 3, 10, 30, 100, 300, 1000):
        x = _across(number)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="small" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{number}</text>')
    for row, (scenario, ratio) in enumerate(ratios.items()):
        y = TOP + ROW * row
        label = escape(scenario.replace("_", " "))
        end = max(_across(ratio), LEFT + 1)
        parts.append(f'<text x="{LEFT - 8}" y="{y + 17}" text-anchor="end">{label}</text>')
        parts.append(f'<rect class="bar" x="{LEFT}" y="{y + 5}" width="{end - LEFT:.1f}" height="{ROW - 10}" rx="2"/>')
        parts.append(f'<text class="small" x="{end + 6:.1f}" y="{y + 17}">{ratio:.1f}</text>')
        if scenario in TARGETS:
            x = _across(TARGETS[scenario])
            parts.append(f'<line class="target" x1="{x:.1f}" x2="{x:.1f}" y1="{y + 2}" y2="{y + ROW - 2}"/>')
    return "\n".join([*parts, "</svg>", ""])


def _across(ratio: float) -> float:
    return LEFT + WIDTH * math.log10(min(max(ratio, 1), 10**DECADES)) / DECADES
