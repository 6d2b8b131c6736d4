"""An AWS on loopback whose instances run their user data: ``AwsCloud``, ``Fault``. See docs/emulated-cloud.md."""

from __future__ import annotations

from acceleratorAPI.testing.aws.calls import Call
from acceleratorAPI.testing.aws.cloud import AwsCloud, EmulatedInstance
from acceleratorAPI.testing.aws.faults import Fault

__all__ = ["AwsCloud", "Call", "EmulatedInstance", "Fault"]
