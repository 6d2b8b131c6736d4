"""A client of the emulated AWS, run as a program: start, process, stop; broken at one of its calls.

Its one argument is JSON, see ``Break``. Its last line on standard output is JSON: the calls it made, whether the break
came, and what went wrong, if anything; a client that is killed prints nothing.

A call is named by the phase of the run, the side (``cloud`` or ``node``), what is called, and how many of these there
were in this phase. What the lease's thread calls is a phase of its own, for it runs beside the others.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from aws_points import CUT_S, DAY_S, Call, How
from clocks import set_clock

from acceleratorAPI import Accelerator, AcceleratorError
from acceleratorAPI.providers import probe
from acceleratorAPI.providers.aws import ready
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.testing.aws import AwsCloud, Fault

SMALL = b"The quick brown fox jumps over the lazy dog.\n" * 100
# Too big to travel in the request of its job.
BIG = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(400_000))
_IDS = re.compile(r"[0-9a-f]{16,}|(?<=/)\d+(?=/|$)")


class Run:
    """One run, and where it breaks."""

    def __init__(self, cloud: AwsCloud, folder: Path, call: Call | None, how: How | None) -> None:
        self.phase = "start"
        self.calls: list[str] = []
        self.struck = False
        self._cloud, self._folder, self._call, self._how = cloud, folder, call, how
        self._counts: Counter[str] = Counter()
        self._turn = threading.Lock()

    def breaks(self, side: str, operation: str) -> How | None:
        """Note a call that is about to be made; how it is to be broken, if it is the one."""
        phase = "lease" if threading.current_thread().name == "lease" else self.phase
        with self._turn:
            self._counts[f"{phase} {side} {operation}"] += 1
            call = Call(phase, side, operation, self._counts[f"{phase} {side} {operation}"])
            self.calls.append(str(call))
            if self.struck or call != self._call:
                return None
            self.struck = True
        if self._how in ("ahead", "behind"):
            set_clock(self._folder / "clock-offset", DAY_S if self._how == "ahead" else -DAY_S)
            return None
        return self._how

    def at_cloud_call(self, event_name: str, **_: Any) -> None:
        """What botocore does before it sends a request: the emulator strikes the one that comes next from us."""
        operation = event_name.rpartition(".")[2]
        how = self.breaks("cloud", operation)
        key = os.environ["AWS_ACCESS_KEY_ID"]
        if how == "expired":
            self._cloud.plan(Fault(access_key=key, error="ExpiredToken", times=0))
        elif how is not None:
            kill: Any = "" if how == "lost" else how
            self._cloud.plan(Fault(operation, access_key=key, lost=how == "lost", kill=kill))

    def around(self, url: str, operation: str, ask: Callable[[], Any]) -> Any:
        """Make a call to the node, broken or not.

        Raises:
            ConnectionResetError: its answer is lost.
        """
        how = self.breaks("node", operation)
        if how == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if how in ("cut", "gone"):
            self._act(url, "cut")
        if how == "cut":
            threading.Timer(CUT_S, self._act, (url, "mend")).start()
        if how == "down":
            self._act(url, "kill", command="--lease-file")
        answer = ask()
        if how == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "died":
            self._act(url, "kill", command="--lease-file")
        if how in ("lost", "died"):
            raise ConnectionResetError("lost by the test")
        return answer

    def _act(self, url: str, action: Any, **details: str) -> None:
        host = urlsplit(url).hostname
        (instance,) = [found for found in self._cloud.instances("running") if found.public_ip == host]
        self._cloud.act(instance.id, action, **details)

    def hook(self) -> None:
        """See every call this process makes."""
        made, asked, opened = Cloud.__init__, probe._asked, urllib3.PoolManager.urlopen

        def noticed(cloud: Cloud, configuration: Any) -> None:
            made(cloud, configuration)
            cloud._session.events.register("before-send", self.at_cloud_call)

        def probed(url: str, fingerprint: str, path: str, *rest: Any) -> Any:
            # Whether it answers is what is asked: one that does is the interesting one.
            answer = asked(url, fingerprint, path, *rest)
            try:
                return answer if answer is None else self.around(url, f"probe {path}", lambda: answer)
            except (OSError, http.client.HTTPException):
                return None

        def whole(pool: Any, method: str, url: str, **options: Any) -> Any:
            def ask() -> Any:
                return opened(pool, method, url, **options)

            try:
                return self.around(url, f"{method} {_IDS.sub('*', urlsplit(url).path)}", ask)
            except ConnectionResetError as error:
                raise urllib3.exceptions.ProtocolError("Connection aborted.", error) from error

        Cloud.__init__ = noticed  # type: ignore[method-assign]
        probe._asked = probed
        urllib3.PoolManager.urlopen = whole  # type: ignore[method-assign,assignment]

    def live(self, stop_mode: str) -> None:
        """Start, process something small and a file, stop.

        Raises:
            AcceleratorError: it did not work.
            AssertionError: what came back is wrong.
        """
        folder = self._folder / f"client-{os.getpid()}"
        folder.mkdir()
        (folder / "in").write_bytes(BIG)
        with Accelerator("cast_gzip") as accelerator:
            accelerator.start(stop_mode=stop_mode)
            self.phase = "process"
            assert gzip.decompress(accelerator.process(SMALL).data or b"") == SMALL
            self.phase = "file"
            accelerator.process(folder / "in", folder / "out")
            assert gzip.decompress((folder / "out").read_bytes()) == BIG
            self.phase = "stop"
            accelerator.stop()


def main() -> None:
    """Run; an error that says what is wrong is an end like another."""
    given = json.loads(sys.argv[1])
    cloud = AwsCloud()
    cloud.endpoint = os.environ["AWS_ENDPOINT_URL"]
    run = Run(cloud, Path(given["folder"]), Call(*given["call"]) if given["call"] else None, given["how"])
    run.hook()
    # Instances live faster here, so their deadlines do not leave the usual pauses.
    ready.FIRST_PAUSE_S, ready._OPEN_AGAIN_S = 0.2, 2.0
    began, error = time.monotonic(), ""
    try:
        run.live(given["stop_mode"])
    except AcceleratorError as told:
        error = f"{type(told).__name__}: {told}"
    print(json.dumps({"calls": run.calls, "struck": run.struck, "error": error, "took_s": time.monotonic() - began}))


if __name__ == "__main__":
    main()
