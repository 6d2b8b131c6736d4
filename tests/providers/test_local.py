"""LOCAL instances on disk and as processes: made, found, stopped, started, swept."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import FileAccessError, FunctionUnknownError, InstanceError, InstanceNotFoundError
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.providers import processes
from acceleratorAPI.providers.base import Instance, InstanceSpec
from acceleratorAPI.providers.local import LocalProvider
from acceleratorAPI.providers.local_state import Folders, InstanceFolder
from acceleratorAPI.providers.processes import ProcessId

SPEC = InstanceSpec("cast_gzip", os.getpid())


@pytest.fixture
def provider(home: Path) -> Iterator[LocalProvider]:
    provider = LocalProvider(Configuration.load())
    yield provider
    for instance in provider.instances():
        provider.terminate(instance)


@pytest.fixture
def instances(home: Path) -> Path:
    return home / "state" / "acceleratorapi" / "instances"


def ended() -> ProcessId:
    """A process that runs no more."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = ProcessId.of(child.pid)
    assert process is not None
    child.communicate(b"\n")
    return process


def node_of(instances: Path, instance: Instance) -> psutil.Process:
    record = InstanceFolder(instances / instance.id).read()
    assert record is not None
    assert record.node is not None
    process = processes.find(record.node)
    assert process is not None
    return process


def test_a_whole_life(provider: LocalProvider, instances: Path) -> None:
    made = provider.create(SPEC)
    assert made.status == "running"
    assert made.url.startswith("http://127.0.0.1:")
    assert made.stop_mode is StopMode.TERM
    assert made.token
    assert made.token not in repr(made)
    assert made.token not in str(made.as_dict())
    assert json.loads(json.dumps(made.as_dict()))["id"] == made.id
    assert provider.instances() == [made]
    node = node_of(instances, made)
    assert os.getsid(node.pid) == node.pid != os.getsid(0)

    provider.stop(made)
    assert not node.is_running()
    stopped = provider.find(instance_id=made.id)
    assert (stopped.status, stopped.url, stopped.stop_mode) == ("stopped", "", StopMode.STOP)
    provider.stop(made)

    again = provider.start(stopped, os.getpid())
    assert again.status == "running"
    assert again.token == made.token
    assert provider.start(again, os.getpid()) == again

    provider.terminate(again)
    assert os.listdir(instances) == []
    provider.terminate(again)
    provider.stop(again)
    provider.mark(again, StopMode.KEEP)
    assert provider.diagnose(again) == f"the instance {made.id} is gone"
    with pytest.raises(InstanceNotFoundError):
        provider.find(instance_id=made.id)


def test_found_by_id_and_address(provider: LocalProvider) -> None:
    with pytest.raises(InstanceNotFoundError, match=r"no LOCAL instance runs at '127\.0\.0\.1'"):
        provider.find(address="127.0.0.1")
    first = provider.create(SPEC)
    host_port = first.url.removeprefix("http://")
    port = host_port.rpartition(":")[2]
    for address in ("127.0.0.1", "localhost", host_port, first.url, f"{first.url}/", f"localhost:{port}"):
        assert provider.find(address=address) == first
    second = provider.create(SPEC)
    with pytest.raises(InstanceError, match=f"{first.id} at {host_port}.*{second.id}.*add the port"):
        provider.find(address="127.0.0.1")
    assert provider.find(address=host_port) == first
    assert provider.find(instance_id=second.id) == second
    with pytest.raises(InstanceNotFoundError, match=f"did you mean '{second.id}'"):
        provider.find(instance_id=second.id[:-1])
    for address in ("127.0.0.1:1", "example.org", "", "http://[", "a:b"):
        with pytest.raises(InstanceNotFoundError):
            provider.find(address=address)
    provider.stop(second)
    assert provider.find(address="127.0.0.1") == first
    assert [instance.id for instance in provider.instances()] == [first.id, second.id]


def test_a_node_that_was_killed_is_swept_or_kept_by_its_mode(provider: LocalProvider, instances: Path) -> None:
    gone, kept = provider.create(SPEC), provider.create(SPEC)
    provider.mark(kept, StopMode.KEEP)
    for instance in (gone, kept):
        node = node_of(instances, instance)
        node.send_signal(signal.SIGKILL)
        node.wait()
    assert "has ended, its log is" in provider.diagnose(kept)
    (left,) = provider.instances()
    assert (left.id, left.status) == (kept.id, "stopped")
    assert os.listdir(instances) == [kept.id]
    assert provider.start(left, os.getpid()).status == "running"


def test_a_recycled_pid_is_a_dead_node(provider: LocalProvider, instances: Path) -> None:
    made = provider.create(SPEC)
    provider.stop(made)
    folder = InstanceFolder(instances / made.id)
    record = folder.read()
    assert record is not None
    ours = ProcessId.of(os.getpid())
    assert ours is not None
    folder.write(replace(record, node=replace(ours, create_time=ours.create_time - 1000)))
    assert provider.find(instance_id=made.id).status == "stopped"
    provider.terminate(made)  # and we live on
    assert os.listdir(instances) == []


def test_what_a_killed_client_left_half_made_is_swept(provider: LocalProvider, instances: Path) -> None:
    folders = Folders(instances)
    folder, record = folders.make("cast_gzip", ended())
    assert (folder.path.stat().st_mode & 0o777, record.node) == (0o700, None)
    (old := instances / ".local-00000000.aa").mkdir()
    (young := instances / ".local-11111111.bb").mkdir()
    os.utime(old, (time.time() - 3600,) * 2)
    assert provider.instances() == []
    assert os.listdir(instances) == [young.name]


def test_reap_removes_the_token_of_an_instance_that_ended_by_itself(provider: LocalProvider, instances: Path) -> None:
    tokens = instances.with_name("tokens")
    folder, record = Folders(instances).make("cast_gzip", ended())
    shutil.rmtree(folder.path)  # as its node does
    (instances / ".local-22222222.cc").mkdir()  # one that is being made
    (tokens / "local-22222222").touch()
    for dry_run in (True, False):
        assert provider.reap(dry_run=dry_run) == [f"{record.id}: its token"]
        assert (tokens / record.id).exists() is dry_run
    assert provider.reap(dry_run=False) == []
    assert os.listdir(tokens) == ["local-22222222"]


def test_what_another_client_is_making_is_left_alone(provider: LocalProvider, instances: Path) -> None:
    ours = ProcessId.of(os.getpid())
    assert ours is not None
    folder, record = Folders(instances).make("cast_gzip", ours)
    (seen,) = provider.instances()
    assert (seen.id, seen.status) == (record.id, "starting")
    folder.remove()


def test_a_node_that_fails_at_its_start_says_why(provider: LocalProvider, instances: Path) -> None:
    made = provider.create(SPEC)
    provider.stop(made)
    (instances / made.id / "node.db").write_bytes(b"no database" * 1000)
    with pytest.raises(InstanceError, match=rf"the node of {made.id} ended at its start \(exit code") as caught:
        provider.start(made, os.getpid())
    assert "\n" not in str(caught.value)
    assert provider.find(instance_id=made.id).status == "stopped"


def test_a_function_that_is_not_installed_starts_nothing(provider: LocalProvider, instances: Path) -> None:
    with pytest.raises(FunctionUnknownError, match="did you mean 'cast_gzip'"):
        provider.create(InstanceSpec("cast_gzpi", os.getpid()))
    assert not instances.exists()


def test_an_owner_that_has_ended_gets_nothing(provider: LocalProvider, instances: Path) -> None:
    with pytest.raises(InstanceError, match="has ended"):
        provider.create(InstanceSpec("cast_gzip", ended().pid))
    assert provider.instances() == []


def test_a_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    configuration = Configuration.load(arguments={("general", "state_dir"): str(tmp_path / "file" / "state")})
    provider = LocalProvider(configuration)
    for call in (provider.instances, lambda: provider.create(SPEC)):
        with pytest.raises(FileAccessError, match="Not a directory"):
            call()


def test_a_node_that_cannot_be_started_leaves_nothing(
    provider: LocalProvider, instances: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(InstanceError, match=r"cannot start the node of local-.*No such file"):
        provider.create(SPEC)
    assert list(instances.iterdir()) == []


def test_a_full_disk_is_one_clear_line(provider: LocalProvider) -> None:
    made = provider.create(SPEC)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(FileAccessError, match=r"cannot write .*instance\.json.*File too large"):
            provider.mark(made, StopMode.KEEP)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert provider.find(instance_id=made.id).stop_mode is StopMode.TERM
    provider.terminate(made)


def test_settings_reach_the_node(home: Path, instances: Path) -> None:
    given = {("general", "slots"): 3, ("general", "legacy_profiling"): True}
    provider = LocalProvider(Configuration.load(arguments=given))
    made = provider.create(SPEC)
    line = " ".join(node_of(instances, made).cmdline())
    assert "--slots 3" in line
    assert "--legacy-profiling" in line
    assert made.token not in line
    provider.terminate(made)
