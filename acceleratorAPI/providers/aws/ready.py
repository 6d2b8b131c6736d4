"""From a launched or started instance to a node that answers."""

from __future__ import annotations

import time
from collections.abc import Callable

from acceleratorAPI.errors import InstanceError
from acceleratorAPI.protocol import paths
from acceleratorAPI.providers.aws import fleet
from acceleratorAPI.providers.aws.cloud import Cloud, Steps
from acceleratorAPI.providers.aws.fleet import Seen
from acceleratorAPI.providers.aws.troubles import trying
from acceleratorAPI.providers.aws.userdata import GRACE_MINUTES
from acceleratorAPI.providers.probe import answers

FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 2.0
_SHOWN_WITHIN_S = 60.0
_OPEN_AGAIN_S = 20.0
_PROBE_S = 3.0
# What our scripts say of an end they have brought about.
_OURS = ("acceleratorAPI: setup failed", "acceleratorAPI: the lease has ended")


def wait_until_ready(
    cloud: Cloud, region: str, instance_id: str, fingerprint: str, open_door: Callable[[], None], steps: Steps
) -> Seen:
    """Wait for the instance's node, and see that it has the certificate made for it.

    Args:
        cloud: the account.
        region: of the instance.
        instance_id: of the instance.
        fingerprint: of its certificate.
        open_door: lets this machine reach the node, should another client have closed the security group meanwhile.
        steps: is told.

    Raises:
        InstanceError: it ended, or there was no answer in time.
    """
    deadline = time.monotonic() + GRACE_MINUTES * 60
    began = opened = time.monotonic()
    pause_s, state = FIRST_PAUSE_S, ""
    while True:
        seen = see(cloud, region, instance_id, missing_is_fine=time.monotonic() - began < _SHOWN_WITHIN_S)
        if seen is not None and seen.gone:
            raise InstanceError(why_it_ended(cloud, seen))
        if seen is not None and seen.state == "running" and seen.address:
            if state != seen.address:
                state = seen.address
                steps.say("%s runs at %s; its node is on the way", instance_id, state)
            if answers(seen.url, fingerprint, path=paths.READY, timeout_s=_PROBE_S):
                return seen
            if time.monotonic() - opened > _OPEN_AGAIN_S:
                opened = time.monotonic()
                open_door()
        if time.monotonic() > deadline:
            raise InstanceError(
                f"the node of {instance_id} does not answer at {state or 'any address'} after {GRACE_MINUTES} minutes;"
                f" its console: {console_end(cloud, region, instance_id)}"
            )
        time.sleep(pause_s)
        pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.3)


def see(cloud: Cloud, region: str, instance_id: str, *, missing_is_fine: bool = True) -> Seen | None:
    """The instance now; ``None`` when AWS does not show it.

    A filter, not the id itself: what AWS does not know yet is then an empty answer and no error.

    Raises:
        InstanceError: it is not shown although it must be, or AWS refuses.
    """
    found = fleet.look(cloud, region, {"instance-id": [instance_id]})
    if not found and not missing_is_fine:
        raise InstanceError(f"AWS shows no instance {instance_id} in {region}")
    return found[0] if found else None


def why_it_ended(cloud: Cloud, seen: Seen) -> str:
    """One line: what AWS says, and the end of what the machine said."""
    reason = seen.record.get("StateReason", {})
    code = str(reason.get("Code", ""))
    # AWS begins most messages with the code.
    said = " ".join(f"{code}: {str(reason.get('Message', '')).removeprefix(f'{code}: ')}".split()).strip(": ")
    message = f"the instance {seen.id} has ended ({said or 'no reason is given'})"
    if code == "Client.InstanceInitiatedShutdown":
        message += f"; its console: {console_end(cloud, seen.region, seen.id)}"
    return message


def console_end(cloud: Cloud, region: str, instance_id: str, lines: int = 3) -> str:
    """The last lines of the console, as one; what we said there ourselves counts most."""
    try:
        text = console(cloud, region, instance_id)
    except InstanceError:
        return "not to be had"
    written = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    ours = [line for line in written if any(word in line for word in _OURS)]
    # Some of ours are there twice, from the script and from its unit's log.
    return " / ".join(dict.fromkeys((ours or written)[-lines:])) or "empty so far"


def console(cloud: Cloud, region: str, instance_id: str) -> str:
    """What the machine wrote to its console.

    Raises:
        InstanceError: AWS refuses.
    """
    with trying(f"read the console of {instance_id}"):
        answer = cloud.ec2(region).get_console_output(InstanceId=instance_id)
    return str(answer.get("Output", ""))
