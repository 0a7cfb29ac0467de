"""What was measured, in medians: as a table, as JSON, beside another server."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.measuring import Cost

FIGURES = {
    "cpu_seconds_per_1000": "CPU s per 1,000",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "per_second": "per second",
}
ENDS = {
    "start_seconds": "start, s",
    "idle_mib": "memory idle, MiB",
    "end_mib": "memory at the end, MiB",
    "bytes_per_event": "database bytes per event",
}


@dataclass
class Report:
    """The figures of one server."""

    name: str
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)

    def add(self, scenario: str, cost: Cost) -> None:
        """Take in what a repeat has shown."""
        self.costs.setdefault(scenario, []).append(cost)

    def figure(self, scenario: str, name: str) -> float:
        """Return the median of a figure over the repeats."""
        return median(cost.figures()[name] for cost in self.costs[scenario])

    def as_json(self) -> dict[str, Any]:
        """Return all figures, of every repeat."""
        return {
            "scenarios": {
                scenario: {
                    "operations": costs[0].operations,
                    **{name: [cost.figures()[name] for cost in costs] for name in FIGURES},
                }
                for scenario, costs in self.costs.items()
            },
            **self.ends,
        }


def machine() -> dict[str, Any]:
    """Return what it was measured on."""
    return {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}


def table(reports: Sequence[Report]) -> str:
    """Return tables in Markdown; with two servers, what the first is of the second."""
    names = [report.name for report in reports]
    ratio = ["ratio"] if len(reports) > 1 else []
    figures = list(FIGURES) if len(reports) == 1 else ["cpu_seconds_per_1000", "p50_ms", "p99_ms"]
    head = ["scenario", *(f"{FIGURES[figure]}, {name}" if name != "ratio" else name for figure in figures
                          for name in [*names, *ratio])]  # fmt: skip
    rows = [
        [scenario, *(cell for name in figures for cell in _cells([each.figure(scenario, name) for each in reports]))]
        for scenario in reports[0].costs
    ]
    ends = [[title, *_cells([report.ends[name] for report in reports])] for name, title in ENDS.items()]
    return _markdown(head, rows) + "\n\n" + _markdown(["", *names, *ratio], ends)


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: list[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"

    rule = "|" + "-" * (widths[0] + 2) + "|" + "".join("-" * (width + 1) + ":|" for width in widths[1:])
    return "\n".join([line(head), rule, *map(line, rows)])


def _cells(values: list[float]) -> list[str]:
    cells = [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values]
    if len(values) > 1:
        ratio = values[0] / values[1]
        cells.append(f"1/{1 / ratio:.1f}" if ratio < 0.95 else f"{ratio:.2f}")
    return cells
