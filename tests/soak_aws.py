"""``scripts/soak-aws``: clients of the emulated AWS broken at every call, and the rows of docs/reliability.md.

What was tried can be kept in a file, so that a run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from aws_points import KILLS, TIME_SCALE, Call, Point, Tally, User, break_at, calls_of_a_run, left_of, points

from acceleratorAPI.testing.aws import AwsCloud

# At once, of clients; what is left by them is looked at beside.
_CLIENTS = 2
# A run that did not come to its call (it is the lease's, and the run was too quick) is tried again.
_TRIES = 3

HEAD = """\
| what | points tried | clients killed | ended right | ended with an error | instances launched | left | command |
|---|---|---|---|---|---|---|---|"""

Found = dict[str, list[Call]]
PARTS: dict[str, tuple[str, Callable[[Found], list[Point]]]] = {
    "killed-cloud": (
        "client killed before each call of the cloud and before its answer; each answer lost (TERM)",
        lambda found: points("TERM", found["TERM"], "cloud", KILLS),
    ),
    "killed-cloud-stop": (
        "the same with STOP",
        lambda found: points("STOP", found["STOP"], "cloud", KILLS),
    ),
    "killed-node": (
        "client killed before each call of the node and before its answer; each answer lost (TERM)",
        lambda found: points("TERM", found["TERM"], "node", KILLS),
    ),
    "killed-node-stop": (
        "the same with STOP",
        lambda found: points("STOP", found["STOP"], "node", KILLS),
    ),
    "expired": (
        "credentials expire at each call of the cloud",
        lambda found: points("TERM", found["TERM"], "cloud", ["expired"]),
    ),
    "clock": (
        "client's clock a day ahead, and a day behind, from each call on",
        lambda found: (
            points("TERM", found["TERM"], "cloud", ["ahead", "behind"])
            + points("TERM", found["TERM"], "node", ["ahead", "behind"])
        ),
    ),
    "node-dies": (
        "node killed before each of its calls, and before each of its answers",
        lambda found: points("TERM", found["TERM"], "node", ["down", "died"]),
    ),
    "cut": (
        "network cut at each call of the node, for less than the lease",
        lambda found: points("TERM", found["TERM"], "node", ["cut"]),
    ),
    "gone": (
        "network cut at each call of the node, for good",
        lambda found: points("TERM", found["TERM"], "node", ["gone"]),
    ),
}


class Results:
    """What was tried so far, a line each in a file, if there is to be one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.wanted: dict[str, list[Point]] = {}
        self.tallies: dict[str, dict[str, Tally]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []:
            record = json.loads(line)
            if "points" in record:
                parsed = [Point(mode, Call.parse(call), how) for mode, call, how in record["points"]]
                self.wanted[record["part"]] = parsed
            else:
                self.tallies.setdefault(record["part"], {})[record["point"]] = Tally(**record["tally"])

    def plan(self, part: str, wanted: list[Point]) -> None:
        """Decide what a part consists of."""
        self.wanted[part] = wanted
        self._write({"part": part, "points": [(point.mode, str(point.call), point.how) for point in wanted]})

    def add(self, part: str, point: Point, tally: Tally) -> None:
        """A point was tried."""
        self.tallies.setdefault(part, {})[str(point)] = tally
        self._write({"part": part, "point": str(point), "tally": tally.as_dict()})

    def open(self, part: str) -> list[Point]:
        """What is still to be tried."""
        done = self.tallies.get(part, {})
        return [point for point in self.wanted[part] if str(point) not in done]

    def total(self, part: str) -> Tally:
        """Of a part, so far."""
        total = Tally()
        for tally in self.tallies.get(part, {}).values():
            total.add(tally)
        return total

    def _write(self, record: dict[str, object]) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


def try_points(cloud: AwsCloud, folder: Path, wanted: Iterable[Point], tried: Callable[[Point, Tally], None]) -> None:
    """Try points, some at once. What each has left is looked at beside, when its lease is over.

    Args:
        cloud: that is used by nobody else.
        folder: for the users' files.
        wanted: the points; no more are begun when they end.
        tried: is told of each, in one thread.
    """
    os.environ.update(cloud.environment())
    names = itertools.count()
    turn = threading.Lock()
    looks: list[Future[None]] = []

    def look(point: Point, tally: Tally, users: list[tuple[User, float]]) -> None:
        for user, ended_at in users:
            tally.add(left_of(cloud, user, ended_at))
        tried(point, tally)

    def client() -> None:
        while True:
            with turn:
                point = next(points_left, None)
            if point is None:
                return
            users = []
            for _ in range(_TRIES):
                user, tally = break_at(cloud, folder, f"user{next(names)}", point)
                users.append((user, time.monotonic()))
                if not tally.unstruck:
                    break
            looks.append(looking.submit(look, point, tally, users))

    points_left = iter(wanted)
    with ThreadPoolExecutor(1) as looking:
        with ThreadPoolExecutor(_CLIENTS) as clients:
            running = [clients.submit(client) for _ in range(_CLIENTS)]
        for future in (*running, *looks):
            future.result()


def row(part: str, total: Tally) -> str:
    """A line of the table in docs/reliability.md."""
    left = ", ".join(f"{count} {name}" for name, count in sorted(total.left.items()) if count) or "0"
    counts = f"{total.points} | {total.killed} | {total.right} | {total.told} | {total.launched}"
    return f"| {PARTS[part][0]} | {counts} | {left} | `scripts/soak-aws {part}` |"


def run_part(part: str, results: Results, ends_at: float, every: int) -> None:
    """Try what is still to be tried of a part until it is time to end."""
    with TemporaryDirectory(prefix="acceleratorapi-soak-") as folder, AwsCloud(time_scale=TIME_SCALE) as cloud:
        if part not in results.wanted:
            found = {mode: calls_of_a_run(cloud, Path(folder), mode) for mode in ("TERM", "STOP")}
            results.plan(part, PARTS[part][1](found)[::every])
        wanted = results.open(part)
        began, count = time.monotonic(), len(results.wanted[part])

        def in_time() -> Iterator[Point]:
            for point in wanted:
                if time.monotonic() > ends_at:
                    return
                yield point

        def tried(point: Point, tally: Tally) -> None:
            results.add(part, point, tally)
            done = count - len(results.open(part))
            print(f"{part}: {done} of {count} after {time.monotonic() - began:.0f} s: {point}", file=sys.stderr)
            for line in tally.wrong:
                print(f"  WRONG: {line}", file=sys.stderr)

        try_points(cloud, Path(folder), in_time(), tried)


def main() -> int:
    """Try every point of the parts; 1 when anything is left or wrong, 2 when the time was over before the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help="all without", default=[])
    parser.add_argument("--results", type=Path, help="a file to keep what was tried in, and to go on from")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no more points after so long")
    parser.add_argument("--every", type=int, default=1, help="only each N-th point")
    given = parser.parse_args()
    ends_at = time.monotonic() + given.minutes * 60
    results = Results(given.results)
    chosen = given.part or list(PARTS)
    for part in chosen:
        if time.monotonic() < ends_at:
            run_part(part, results, ends_at, given.every)
    print(HEAD)
    well = True
    for part in chosen:
        if part in results.tallies:
            total = results.total(part)
            print(row(part, total))
            well = well and total.well()
    for line in (line for part in chosen for line in results.total(part).wrong):
        print(f"  WRONG: {line}")
    whole = all(part in results.wanted and not results.open(part) for part in chosen)
    return 2 if well and not whole else int(not well)


if __name__ == "__main__":
    sys.exit(main())
