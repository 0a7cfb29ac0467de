"""Runs the scenarios against a fresh server and prints what they cost."""

import argparse
import asyncio
import json
import sys

from benchmarks.scenarios import SCENARIOS, Bench, Cost
from benchmarks.server import running


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"some of {', '.join(SCENARIOS)}; else all")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of a full run, such as 0.1")
    parser.add_argument("--database", default="", help="postgresql://... of an empty database; else SQLite")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    unknown = set(arguments.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    asyncio.run(_run(arguments.scenarios or list(SCENARIOS), arguments.scale, arguments.database, arguments.json))


async def _run(names: list[str], scale: float, database_url: str, as_json: bool) -> None:
    async with running(database_url) as server:
        idle = server.resident_bytes()
        bench = Bench(server, scale)
        costs: dict[str, Cost] = {}
        for name in names:
            if not as_json:
                print(f"{name} ...", end="\r", file=sys.stderr, flush=True)
            costs[name] = await SCENARIOS[name](bench)
        memory = {
            "start_seconds": server.started_in,
            "idle_mib": idle / 2**20,
            "end_mib": server.resident_bytes() / 2**20,
        }
    if as_json:
        print(json.dumps({"scenarios": {name: _figures(cost) for name, cost in costs.items()}, **memory}, indent=2))
    else:
        _print_table(costs)
        print("started in {start_seconds:.2f} s; {idle_mib:.0f} MiB idle, {end_mib:.0f} MiB now".format(**memory))


def _figures(cost: Cost) -> dict[str, float | None]:
    return {
        "operations": cost.operations,
        "cpu_seconds_per_1000": 1000 * cost.cpu_seconds / cost.operations,
        "per_second": cost.operations / cost.seconds,
        "p50_ms": cost.percentile(50),
        "p99_ms": cost.percentile(99),
        "bytes_per_event": cost.bytes_per_event,
    }


def _print_table(costs: dict[str, Cost]) -> None:
    print(f"{'':20}{'operations':>11}{'CPU s/1000':>12}{'per second':>12}{'p50 ms':>9}{'p99 ms':>9}{'bytes/event':>13}")
    for name, cost in costs.items():
        stored = f"{cost.bytes_per_event:.0f}" if cost.bytes_per_event is not None else ""
        print(
            f"{name:20}{cost.operations:11}{1000 * cost.cpu_seconds / cost.operations:12.2f}"
            f"{cost.operations / cost.seconds:12.0f}{cost.percentile(50):9.1f}{cost.percentile(99):9.1f}{stored:>13}"
        )


if __name__ == "__main__":
    main()
