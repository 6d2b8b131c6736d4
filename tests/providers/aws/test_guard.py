"""An instance ends when its guard fails, and whatever its wall clock says."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

import urllib3
from clocks import SOURCE, compile_command, set_clock

from acceleratorAPI import Accelerator
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.trust import Trust
from acceleratorAPI.protocol.records import Lease
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.providers.base import Instance, InstanceSpec
from acceleratorAPI.testing.aws import AwsCloud

# What the guard does from the moment at which the file /srv/broken is there.
BROKEN = {
    "killed": "kill -9 $$",
    "hanging": "exec sleep 100000",
    "never called": "systemctl stop acceleratorapi-guard.timer",
}
GUARD = """#!/bin/bash
mv /usr/local/sbin/acceleratorapi-guard /usr/local/sbin/guard
cat > /usr/local/sbin/acceleratorapi-guard <<'END'
#!/bin/bash
if [ -e /srv/broken ]; then {what}; fi
exec /usr/local/sbin/guard
END
chmod 755 /usr/local/sbin/acceleratorapi-guard
"""
CLOCK_FILE = Path("/srv/clock-offset")


@contextmanager
def node_of(instance: Instance) -> Iterator[NodeClient]:
    node = NodeClient(instance.url, instance.token, trust=Trust(instance.fingerprint))
    try:
        yield node
    finally:
        node.close()


def state_of(cloud: AwsCloud, instance_id: str) -> str:
    return next(instance.state for instance in cloud.instances() if instance.id == instance_id)


def inside(cloud: AwsCloud, instance_id: str, path: str) -> Path:
    """A file of the instance, as the host sees it."""
    folder = next(instance.folder for instance in cloud.instances() if instance.id == instance_id)
    return Path(folder) / "disk" / path.lstrip("/")


def test_an_instance_whose_guard_fails_ends(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], tmp_path: Path
) -> None:
    def broken(how: str) -> str:
        script = tmp_path / how
        script.write_text(GUARD.format(what=BROKEN[how]))
        made = provider(init_script=str(script)).create(InstanceSpec("cast_gzip", os.getpid()))
        with node_of(made) as node:
            node.lease(Lease(seconds=900))
        # The lease is the guard's by now: as long as it is well, the machine lives on.
        cloud.wait_for(lambda: inside(cloud, made.id, "/srv").exists() and "shutdown: " in cloud.console(made.id))
        time.sleep(1)
        assert state_of(cloud, made.id) == "running"
        inside(cloud, made.id, "/srv/broken").touch()
        cloud.wait_for(lambda: state_of(cloud, made.id) in ("shutting-down", "terminated"), timeout_s=60)
        return how

    with ThreadPoolExecutor(len(BROKEN)) as pool:
        assert list(pool.map(broken, BROKEN)) == list(BROKEN)


def test_no_jump_of_an_instances_wall_clock_ends_or_prolongs_it(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], tmp_path: Path
) -> None:
    library = Path("/usr/local/lib/clock_shim.so")
    command = " ".join(f"'{part}'" for part in compile_command(library, Path("/srv/clock_shim.c"), CLOCK_FILE))
    script = tmp_path / "init"
    script.write_text(
        f"#!/bin/bash\nset -e\ncat > /srv/clock_shim.c <<'C'\n{SOURCE.read_text()}\nC\n"
        f"echo 0 > {CLOCK_FILE}\nchmod 755 /srv\n{command}\necho {library} > /etc/ld.so.preload\n"
    )
    made = provider(init_script=str(script)).create(InstanceSpec("cast_gzip", os.getpid()))
    file = inside(cloud, made.id, str(CLOCK_FILE))
    with node_of(made) as node:
        for days in (30, -30, 0):
            set_clock(file, days * 86400)
            # uvicorn writes the date of a moment ago.
            cloud.wait_for(lambda days=days: round((_date_of(made) - time.time()) / 86400) == days)
            with Accelerator("cast_gzip", instance_id=made.id) as accelerator:
                accelerator.start()
                assert gzip.decompress(accelerator.process(b"x" * 1000).data or b"") == b"x" * 1000
            node.lease(Lease(seconds=600))
            time.sleep(1)
            assert state_of(cloud, made.id) == "running"
        set_clock(file, -30 * 86400)
        node.lease(Lease(seconds=60))
    cloud.wait_for(lambda: state_of(cloud, made.id) in ("shutting-down", "terminated"), timeout_s=20)
    assert "the lease has ended" in cloud.console(made.id)


def _date_of(instance: Instance) -> float:
    """What the node takes for now."""
    with urllib3.PoolManager(assert_fingerprint=instance.fingerprint, cert_reqs="CERT_NONE") as pool:
        answer = pool.request("GET", f"{instance.url}/health/live")
    return parsedate_to_datetime(answer.headers["Date"]).timestamp()
