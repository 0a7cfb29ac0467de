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
    """Return a table in Markdown; with two servers, what the first is of the second."""
    ours, *others = reports
    rows: list[list[str]] = []
    for scenario in ours.costs:
        for name, title in FIGURES.items():
            if name != "per_second" or not others:
                rows.append([scenario, title, *_cells([report.figure(scenario, name) for report in reports])])
    for name, title in ENDS.items():
        rows.append(["", title, *_cells([report.ends[name] for report in reports])])
    head = ["scenario", "figure", *(report.name for report in reports), *(["ratio"] if others else [])]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: list[str]) -> str:
        padded = (
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )  # fmt: skip
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (" " if column < 2 else ":") for column, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def _cells(values: list[float]) -> list[str]:
    cells = [f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" for value in values]
    if len(values) > 1:
        ratio = values[0] / values[1]
        cells.append(f"1/{1 / ratio:.1f}" if ratio < 0.95 else f"{ratio:.2f}")
    return cells
