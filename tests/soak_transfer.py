"""Transfers under faults, at full size, with a table of what survived; arguments: which of these, all by default.

cuts_up   RST, FIN and silence at 20 random offsets each of a GiB that is sent; what is sent again is counted
cuts_down the same of one that is fetched
stale     a new question for an upload whose old connection has gone silent
flips     100 bits turned on the way up, 100 on the way down, 100 in stored outputs
kills     the client killed 100 times at random points of upload, job and download, and run again
sizes     0 to 2^32 + 1 bytes by every way
memory    8 streams of 5 GiB at once
huge      40 GiB in and out (sparse)
lines     one connection against four on slow lines
patience  transfers and jobs longer than 15 minutes (20 minutes, run it beside)
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from crc32c import crc32c

from acceleratorAPI import Accelerator
from acceleratorAPI.client import connection
from acceleratorAPI.client.fetch import Fetch
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.pace import checksum_field
from acceleratorAPI.errors import AcceleratorError, IntegrityError
from acceleratorAPI.files import open_source

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS / "support"))
from fault_proxy import Fault, FaultProxy  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
TOKEN = "soak"
rows: list[str] = []


def report(fault, injected, survived, lost, note=""):
    """One row of the table of docs/reliability.md, and what else is to be known."""
    rows.append(f"| {fault} | {injected} | {survived} | {lost} | `scripts/soak-transfer {current}` |")
    print(f"{rows[-1]}  {note}", flush=True)


@contextlib.contextmanager
def a_node(work):
    """A node of its own with the tests' functions; its address, process and spool."""
    state = Path(tempfile.mkdtemp(dir=work))
    (state / "given").write_text(TOKEN)
    path = os.pathsep.join([str(TESTS / "node" / "plugin"), str(TESTS.parent)])
    command = [sys.executable, "-m", "acceleratorAPI.node", "--port", "0", "--slots", "4", "--state", str(state)]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--token-file", str(state / "given")], env={**os.environ, "PYTHONPATH": path}, stderr=log
        )
    try:
        while not (state / "node.json").exists():
            assert process.poll() is None, (state / "log").read_text()
            time.sleep(0.05)
        url = json.loads((state / "node.json").read_text())["url"]
        yield url, process, state / "spool"
    finally:
        process.terminate()
        process.wait(60)
        subprocess.run(["rm", "-r", str(state)], check=True)


def address(url):
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


@contextlib.contextmanager
def started(url, function="test_copy", connections=None, **start):
    """An accelerator on that node."""
    os.environ["ACCELERATOR_NODE_TOKEN"] = TOKEN
    os.environ["ACCELERATOR_GENERAL_CONNECTIONS"] = str(connections or "")
    with Accelerator(function, instance_ip=url) as accelerator:
        accelerator.start(**start)
        yield accelerator


def random_file(path, size):
    with path.open("wb") as file:
        for _ in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - file.tell())))
    return path


def crc(path):
    found = 0
    with open_source(path) as file:
        while data := file.read(MIB):
            found = crc32c(data, found)
    return found


def patience(work):
    """T7: a slow line, a slow source and a silent function, all beyond 900 s."""
    seconds = 1200.0

    def slow_line(url):
        source = random_file(work / "line", 96 * MIB)
        with FaultProxy(address(url)) as proxy:
            proxy.rate_bytes_s = 100_000
            with started(proxy.url, "test_count") as user:
                assert user.process(source).specific["count"] == 96 * MIB

    def slow_source(url):
        reading, writing = os.pipe()

        def write():
            until = time.monotonic() + 960
            with open(writing, "wb", buffering=0) as pipe:
                while time.monotonic() < until:
                    pipe.write(b"x" * 10_000)
                    time.sleep(0.1)

        threading.Thread(target=write).start()
        with started(url, "test_count") as user, open(reading, "rb", buffering=0) as pipe:
            assert user.process(pipe).specific["count"] > 80_000_000

    def silent_job(url):
        with started(url, "test_silent") as user:
            assert user.process(b"after a while", seconds=seconds).data == b"after a while"

    with a_node(work) as (url, _, _):
        results = {}

        def run(test):
            began = time.monotonic()
            try:
                test(url)
                results[test.__name__] = time.monotonic() - began
            except AcceleratorError as error:
                print(f"{test.__name__}: {error!r}", flush=True)

        threads = [threading.Thread(target=run, args=(test,)) for test in (slow_line, slow_source, silent_job)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    good = sum(took > 900 for took in results.values())
    took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in results.items())
    report("transfer or job of more than 900 s", 3, good, 0, took)
    return good == 3


def cuts_up(work):
    """T8, uploads."""
    return cuts(work, up=True)


def cuts_down(work):
    """T8, downloads."""
    return cuts(work, up=False)


def cuts(work, up):
    """Cuts at random offsets; what is sent twice is at most a piece a cut."""
    source = random_file(work / "in", GIB)
    wanted, good = crc(source), True
    connection.PIECE_IDLE_S = 5.0  # silence is noticed after 30 s; here there are many
    with a_node(work) as (url, _, _):
        for kind in ("rst", "fin", "drop"):
            offsets = sorted(random.sample(range(GIB), 20))
            with FaultProxy(address(url)) as proxy, started(proxy.url) as user:
                before = dict(proxy.passed)
                proxy.faults = [Fault(kind, before[up] + offset, up) for offset in offsets]
                began = time.monotonic()
                user.process(source, work / "out")
                again = proxy.passed[up] - before[up] - GIB
                equal = crc(work / "out") == wanted
                fired = len(proxy.fired)
            name = {"rst": "connection reset", "fin": "connection ended", "drop": "connection silent"}[kind]
            note = f"{again / fired / MIB:.1f} MiB sent again a cut, {time.monotonic() - began:.0f} s"
            report(f"{name}, {'upload' if up else 'download'} of 1 GiB", fired, fired * equal, 0, note)
            good = good and equal and fired == 20 and again <= fired * (8 * MIB + 64 * 1024)
            (work / "out").unlink()
    source.unlink()
    return good


def stale(work):
    """T9: a connection goes silent in mid-piece; a new one asks where the upload stands, and goes on."""
    data, rounds, good, slowest = os.urandom(8 * MIB), 20, 0, 0.0
    with a_node(work) as (url, _, _):
        direct = NodeClient(url, TOKEN)
        for number in range(rounds):
            upload = direct.create_upload(len(data), memoryview(b""), None)
            host, port = address(url)
            with socket.create_connection((host, port)) as old:
                head = f"PATCH {upload} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nUpload-Offset: 0\r\n"
                head += "Content-Type: application/offset+octet-stream\r\nTus-Resumable: 1.0.0\r\n"
                old.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[: (number + 1) * 100_001])
                time.sleep(0.3)
                began = time.monotonic()
                offset = direct.upload_state(upload).offset
                slowest = max(slowest, time.monotonic() - began)
                rest = memoryview(data)[offset:]
                direct.add_to_upload(upload, offset, rest, checksum_field(crc32c(rest)), None)
                state = direct.upload_state(upload)
                good += state.complete and state.crc32c == crc32c(data) and slowest <= 2
            direct.remove_upload(upload)
    report("old connection open and silent, new one asks", rounds, good, 0, f"answered within {slowest:.2f} s")
    return good == rounds


def flips(work):
    """T12 and T13."""
    size, good = 256 * MIB, True
    source = random_file(work / "in", size)
    wanted = crc(source)
    with a_node(work) as (url, _, spool):
        with FaultProxy(address(url)) as proxy, started(proxy.url) as user:
            while len(proxy.fired) < 100:
                start = proxy.passed[True]
                proxy.faults = [Fault("flip", start + at) for at in random.sample(range(size), 20)]
                user.process(source, work / "out")
                good = good and crc(work / "out") == wanted
            report("bit flipped in an upload", len(proxy.fired), len(proxy.fired) * good, 0)
            proxy.fired, small, right = [], random_file(work / "small", 2 * MIB), 0
            for _ in range(100):
                proxy.faults = [Fault("flip", proxy.passed[False] + random.randrange(2 * MIB), up=False)]
                user.process(small, work / "out")
                right += crc(work / "out") == crc(small)
            report("bit flipped in a download", len(proxy.fired), right, 0)
            good = good and right == 100 == len(proxy.fired)
        found = stored_flips(url, spool, work / "small", work / "stored")
        left = (work / "stored").exists()
        report("bit flipped in a stored output", 100, found, 0, "each one an IntegrityError, no output written")
    source.unlink()
    return good and found == 100 and not left


def stored_flips(url, spool, source, target):
    """How many of 100 outputs with a bit flipped on the node's disk the client refuses."""
    original, found = Fetch.run, 0

    def flip_first(self):
        while not self._node.job(self._job_id, 30).ended:
            pass
        (output,) = [path for path in spool.iterdir() if path.stat().st_size == source.stat().st_size]
        place = random.randrange(source.stat().st_size)
        with output.open("r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1 << random.randrange(8)]))
        return original(self)

    Fetch.run = flip_first
    with started(url) as user:
        for _ in range(100):
            try:
                user.process(source, target)
            except IntegrityError:
                found += 1
    Fetch.run = original
    return found


def one_call(url, source, target, ready):
    """What is killed."""
    with started(url) as user:
        ready.set()
        user.process(source, target)


def kills(work):
    """The client is killed at random moments and the same call made again, until it gets through."""
    source = random_file(work / "in", 64 * MIB)
    wanted, killed, rounds, good = crc(source), 0, 0, True
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["__main__", "acceleratorAPI.client.accelerator"])
    with a_node(work) as (url, _, _), FaultProxy(address(url)) as proxy:
        proxy.rate_bytes_s = 100e6
        while killed < 100:
            for attempt in range(6):
                ready = processes.Event()
                child = processes.Process(target=one_call, args=(proxy.url, source, work / "out", ready))
                child.start()
                ready.wait(60)
                child.join(random.uniform(0, 1.0) if attempt < 5 else 120)
                if child.is_alive():
                    child.kill()
                    killed += 1
                child.join()
                if child.exitcode == 0:
                    break
            rounds += 1
            good = good and child.exitcode == 0 and crc(work / "out") == wanted
            (work / "out").unlink()
        sent = proxy.passed[True] / rounds / source.stat().st_size
        left = [path for path in work.iterdir() if path.name.startswith(".")]
    note = f"{rounds} files, each sent {sent:.2f} times on average; {len(left)} files left beside outputs"
    report("client killed", killed, killed * good, 0, note)
    source.unlink()
    return good and not left


def sizes(work):
    """T5: by the client over one and four connections, to a path, a file object and bytes; and by curl on v1.0."""
    good, injected = True, 0
    with a_node(work) as (url, _, _):
        for size in (0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1):
            source = work / "sparse"
            with source.open("wb") as file:
                file.truncate(size)
            wanted = crc(source)
            for connections in (1, 4):
                with started(url, connections=connections) as user:
                    user.process(source, work / "out")
                    right = (work / "out").stat().st_size == size and crc(work / "out") == wanted
                    (work / "out").unlink()
                    with source.open("rb") as reader, (work / "out").open("wb") as writer:
                        user.process(reader, writer)
                    right = right and (work / "out").stat().st_size == size and crc(work / "out") == wanted
                    (work / "out").unlink()
                injected += 2
                good = good and right
                print(f"{size} bytes over {connections}: {'right' if right else 'WRONG'}", flush=True)
    report("sizes around 2^31 and 2^32, 0 and 1", injected, injected if good else 0, 0)
    return good


def watched(process, run):
    """Most memory above the start, of the node with its workers and of this process, while ``run`` runs."""

    def node_bytes():
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        return family[0].memory_info().rss, sum(one.memory_info().rss for one in family)

    me = psutil.Process()
    start, most, ended = (*node_bytes(), me.memory_info().rss), [0, 0, 0], threading.Event()

    def watch():
        while not ended.wait(0.2):
            now = (*node_bytes(), me.memory_info().rss)
            most[:] = [max(one) for one in zip(most, now, strict=True)]

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run()
    finally:
        ended.set()
        watcher.join()
    return [(one - first) / 1e6 for one, first in zip(most, start, strict=True)]


def memory(work):
    """T6: 40 GiB in 8 streams; inputs are sparse, outputs counts."""
    source = work / "sparse"
    with source.open("wb") as file:
        file.truncate(5 * GIB)
    with a_node(work) as (url, process, _), started(url, "test_count") as user:
        user.process(b"warm")
        results = []

        def run():
            results.extend(user.process_map([source] * 8, workers=8))

        began = time.monotonic()
        node, family, client = watched(process, run)
        took = time.monotonic() - began
        right = all(result.specific["count"] == 5 * GIB for result in results) and len(results) == 8
    note = f"node +{node:.0f} MB, with workers +{family:.0f} MB, client +{client:.0f} MB, {took:.0f} s"
    report("40 GiB in 8 streams", 8, 8 * right, 0, note)
    return right and node <= 150 and client <= 100


def huge(work):
    """40 GiB of zeros in, and as many out: through a pipe that sums them up, so that only the node stores them."""
    size, source = 40 * GIB, work / "sparse"
    with source.open("wb") as file:
        file.truncate(size)

    class Sum:
        size = crc = 0

        def write(self, data):
            self.size += len(data)
            self.crc = crc32c(data, self.crc)
            return len(data)

    with a_node(work) as (url, process, _):
        with started(url, "cast_gzip") as user:
            node, _, client = watched(process, lambda: user.process(source, work / "gz"))
        print(f"in: {size} -> {(work / 'gz').stat().st_size}; node +{node:.0f} MB, client +{client:.0f} MB", flush=True)
        taken = Sum()
        with started(url, "cast_gunzip") as user:
            out_node, _, out_client = watched(process, lambda: user.process(work / "gz", taken))
    right = taken.size == size and taken.crc == crc(source)
    note = f"out: node +{out_node:.0f} MB, client +{out_client:.0f} MB"
    report("40 GiB in, 40 GiB out", 2, 2 * right, 0, note)
    return right and max(node, out_node) <= 150 and max(client, out_client) <= 100


def lines(work):
    """What several connections give: on loopback, with a limit for each connection, with a delay."""
    source = random_file(work / "in", 256 * MIB)
    with a_node(work) as (url, _, _):
        for name, rate, delay in (("loopback", None, 0.0), ("50 MB/s each", 50e6, 0.0), ("5 ms a step", None, 0.005)):
            for number in (1, 2, 4, 8):
                with FaultProxy(address(url)) as proxy:
                    proxy.rate_bytes_s, proxy.delay_s = rate, delay
                    with started(url if name == "loopback" else proxy.url, connections=number) as user:
                        began = time.monotonic()
                        result = user.process(source, work / "out")
                        took = time.monotonic() - began
                    print(f"{name}, {number} connections: {result.bytes_in / took / 1e6:.0f} MB/s there and back")
    return True


TESTS_BY_NAME = {
    test.__name__: test for test in (cuts_up, cuts_down, stale, flips, kills, sizes, memory, huge, lines, patience)
}
current = ""


def main():
    global current
    chosen = sys.argv[1:] or list(TESTS_BY_NAME)
    good = True
    with tempfile.TemporaryDirectory(prefix="acceleratorapi-soak-") as folder:
        for current in chosen:
            good = TESTS_BY_NAME[current](Path(folder)) and good
    print("\n| fault | times injected | times survived | data lost | command |\n|---|---|---|---|---|")
    print("\n".join(rows))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
