"""Spot capacity that AWS takes back: the node is told by its machine, and its clients by the node."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from acceleratorAPI import Accelerator
from acceleratorAPI.cli.status_view import text
from acceleratorAPI.client import lease
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.trust import Trust
from acceleratorAPI.errors import MachineEndingError, NodeUnreachableError
from acceleratorAPI.testing.aws import AwsCloud


def test_an_interruption_is_told_and_what_runs_may_end(
    cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lease, "EVERY_S", 0.2)
    monkeypatch.setenv("ACCELERATOR_CSP_SPOT", "yes")
    with Accelerator("cast_gzip", stop_mode="TERM") as accelerator:
        accelerator.start()
        instance = accelerator.instance
        assert instance is not None
        assert cloud.instances()[0].lifecycle == "spot"
        source, sink = os.pipe()
        with open(source, "rb") as reading, open(sink, "wb", buffering=0) as writing:
            running = accelerator.process_submit(reading)
            writing.write(b"begun before, ")
            # Twenty minutes of the instance, twenty seconds of ours.
            cloud.act(instance.id, "interrupt", notice_s=1200)
            told = cloud.wait_for(lambda: [r for r in caplog.records if "takes this spot instance back" in r.message])
            assert told[0].message.startswith(f"{instance.url}: AWS takes this spot instance back at 20")
            with pytest.raises(MachineEndingError, match="takes no more work: AWS takes this spot instance back at"):
                accelerator.process(b"too late")
            node = NodeClient(instance.url, instance.token, trust=Trust(instance.fingerprint))
            status = node.status()
            node.close()
            assert status.notice.startswith("AWS takes this spot instance back at 20")
            assert status.draining
            assert status.notice in text(status, "here")
            writing.write(b"ended after")
            writing.close()
            assert gzip.decompress(running.result().data or b"") == b"begun before, ended after"
        cloud.act(instance.id, "interrupt", notice_s=0)
        cloud.wait_for(lambda: not cloud.instances("running"))
        with pytest.raises(NodeUnreachableError, match=r"has ended \(Server.SpotInstanceTermination"):
            accelerator.process(b"too late")
    assert len([r for r in caplog.records if "takes this spot" in r.message]) == 1


def test_an_instance_on_demand_does_not_ask(cloud: AwsCloud) -> None:
    with Accelerator("cast_gzip", stop_mode="TERM") as accelerator:
        accelerator.start()
        assert accelerator.instance is not None
        (launched,) = cloud.calls("RunInstances")
        assert "SpotInstanceType" not in launched.text()
        programs = Path(cloud.instances()[0].folder, "disk/usr/local/sbin")
        assert (programs / "acceleratorapi-guard").exists()
        assert not (programs / "acceleratorapi-spot").exists()
