"""Measures what a server costs.

Without a word it runs the scenarios, with --with-synapse beside Synapse. `scaling` shows how costs grow with rooms and
their history, `fan_out` offers 20 messages a second to 200 who wait, `soak` loads a server for minutes and watches its
memory, `distant` joins a large room of another server and receives events from there, `xmpp` has thousands of idle
sessions and a large room, with --with-prosody beside Prosody.
"""

import argparse
import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from benchmarks import distant, fan_out, picture, scaling, soak, synapse, xmpp
from benchmarks.measuring import Bench
from benchmarks.report import Report, machine, table
from benchmarks.scenarios import ALONE, SCENARIOS
from benchmarks.server import Server, running

KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
OTHERS = ("scaling", "fan_out", "soak", "distant", "xmpp")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = SCENARIOS | ALONE
    parser.add_argument(
        "what", nargs="*", metavar="SCENARIO", help=f"{', '.join(OTHERS)}, or some of {', '.join(every)}"
    )
    parser.add_argument("--with-synapse", action="store_true", help="beside Synapse, in the environment $SYNAPSE_VENV")
    parser.add_argument("--with-prosody", action="store_true", help="xmpp: beside Prosody, as the system has it")
    parser.add_argument("--repeats", type=int, default=1, help="how often; what is shown are medians")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of a full run, such as 0.1")
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to soak or to fan out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every repeat to a file")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the comparison with Synapse")
    arguments = parser.parse_args()
    unknown = set(arguments.what) - {*every, *OTHERS}
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if arguments.what == ["scaling"]:
        print(uvloop.run(scaling.run(arguments.scale)))
    elif arguments.what == ["distant"]:
        print(uvloop.run(distant.run(arguments.scale, arguments.with_synapse)))
    elif arguments.what == ["xmpp"]:
        print(uvloop.run(xmpp.run(arguments.scale, arguments.with_prosody)))
    elif arguments.what == ["fan_out"]:
        raise SystemExit(uvloop.run(fan_out.run(60 * arguments.minutes)))
    elif arguments.what == ["soak"]:
        raise SystemExit(uvloop.run(soak.run(arguments.minutes)))
    else:
        uvloop.run(_compare(arguments))


async def _compare(arguments: argparse.Namespace) -> None:
    names = ["isthmus", "synapse"] if arguments.with_synapse else ["isthmus"]
    chosen = arguments.what or [*SCENARIOS, *(() if arguments.with_synapse else ALONE)]
    async with AsyncExitStack() as stack:
        benches = [
            Bench(await stack.enter_async_context(running(name, arguments.database)), arguments.scale)
            for name in names
        ]  # fmt: skip
        reports = [Report(bench.server.name) for bench in benches]
        starts = [await _first_figures(bench.server, report) for bench, report in zip(benches, reports, strict=True)]
        turn = list(zip(benches, reports, strict=True))
        for repeat in range(arguments.repeats):
            for scenario in chosen:
                print(f"{repeat + 1}/{arguments.repeats} {scenario} ", end="", file=sys.stderr, flush=True)
                prepared = await asyncio.gather(*((SCENARIOS | ALONE)[scenario](bench) for bench in benches))
                measurements = dict(zip((report.name for report in reports), prepared, strict=True))
                for bench, report in turn:
                    await bench.server.rests()
                    cost = await measurements[report.name]()
                    report.add(scenario, cost)
                    print(f" {report.name}: {cost.figures()['cpu_seconds_per_1000']:.3g}", end="", file=sys.stderr)
                print(file=sys.stderr)
                turn.reverse()
        for bench, report, start in zip(benches, reports, starts, strict=True):
            await _last_figures(bench.server, report, start)
    print(table(reports))
    if arguments.json:
        found = {"machine": machine(), "database": arguments.database, "scale": arguments.scale}
        if arguments.with_synapse:
            found["synapse"] = synapse.version()
        figures = {report.name: report.as_json() for report in reports}
        arguments.json.write_text(json.dumps(found | {"servers": figures}, indent=1) + "\n")
    if arguments.svg and arguments.with_synapse:
        title = f"Synapse {synapse.version()} beside Isthmus, both on {KINDS[arguments.database]}"
        arguments.svg.write_text(picture.draw(reports[0], reports[1], title))


async def _first_figures(server: Server, report: Report) -> tuple[int, int]:
    """Note what a server costs that nobody has used; return the bytes and events that it has stored."""
    report.ends |= {"start_seconds": server.started_in, "idle_mib": server.resident_bytes() / 2**20}
    return await server.stored_bytes(), await server.stored_events()


async def _last_figures(server: Server, report: Report, start: tuple[int, int]) -> None:
    await server.rests()
    stored, events = await server.stored_bytes() - start[0], await server.stored_events() - start[1]
    report.ends |= {"end_mib": server.resident_bytes() / 2**20, "bytes_per_event": stored / max(events, 1)}


if __name__ == "__main__":
    main()
