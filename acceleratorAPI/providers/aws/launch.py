"""The one call that makes something each time it is made: RunInstances, in zone after zone, never blindly twice."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from acceleratorAPI.errors import InstanceError
from acceleratorAPI.providers.aws import tags
from acceleratorAPI.providers.aws.cloud import Cloud, progress
from acceleratorAPI.providers.aws.machine import Zone
from acceleratorAPI.providers.aws.troubles import (
    LaunchRefusedError,
    UnansweredError,
    code_of,
    explained,
    message_of,
    trouble_of,
    trying,
)
from acceleratorAPI.providers.journal import Journal

FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
# "again": how often without knowing. "soon": IAM needs minutes now and then to know its own role.
_AGAIN = 8
_SOON_S = 180.0
_TOKENS_OF_ENDED = 3
# AWS may need so long to show an instance it has made.
_SHOWN_WITHIN_S = 60.0


def launch(
    cloud: Cloud, journal: Journal, session: str, region: str, request: Mapping[str, Any], zones: Iterable[Zone]
) -> tuple[str, Zone]:
    """Make the instance in the first zone that has a machine; its id and zone.

    Every attempt has a token of its own: AWS compares tokens within a zone, so one token in two zones would be two
    instances. The next zone is asked only when AWS has refused the one before for sure.

    Args:
        cloud: the account.
        journal: gets every request before AWS does.
        session: of the instance.
        region: of the zones.
        request: of RunInstances, but for token, zone and subnet.
        zones: where to ask, in this order.

    Raises:
        LaunchRefusedError: no zone has one; another region may.
        InstanceError: AWS refuses.
    """
    attempt = 0
    refused: InstanceError | None = None
    for zone in zones:
        for _ in range(_TOKENS_OF_ENDED):
            attempt += 1
            asked = _in_zone(request, zone, f"{session}-{attempt}")
            journal.intend(session, region, asked["ClientToken"], json.dumps(asked))
            try:
                instance_id = _run(cloud, region, session, asked)
            except (ClientError, BotoCoreError) as error:
                if code_of(error) == "IdempotentInstanceTerminated":
                    continue
                refused = explained(error, f"launch {request['InstanceType']} in {zone.name}")
                if trouble_of(error).action != "zone":
                    raise refused from error
                progress.info("  %s has none now (%s)", zone.name, code_of(error))
                break
            journal.made(session, instance_id)
            return instance_id, zone
    raise refused or LaunchRefusedError(f"AWS: an instance ended as soon as it was made, {attempt} times: try later")


def _in_zone(request: Mapping[str, Any], zone: Zone, token: str) -> dict[str, Any]:
    interface = {**request["NetworkInterfaces"][0], "SubnetId": zone.subnet}
    return {**request, "NetworkInterfaces": [interface], "ClientToken": token}


def _run(cloud: Cloud, region: str, session: str, asked: Mapping[str, Any]) -> str:
    """One attempt: the same words with the same token until AWS has said what became of it."""
    client = cloud.client("ec2", region, once=True)
    began = time.monotonic()
    unknown = 0
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return str(client.run_instances(**asked)["Instances"][0]["InstanceId"])
        except (ClientError, BotoCoreError) as error:
            action = trouble_of(error).action
            unknown += action == "again"
            soon = action == "soon" and time.monotonic() - began < _SOON_S
            if not soon and (action != "again" or unknown >= _AGAIN):
                if unknown and (known := find_session(cloud, region, session)):
                    return known
                if unknown and action == "account":
                    raise UnansweredError(str(explained(error, "learn what became of the launch"))) from error
                raise
            progress.info("  AWS: %s; trying again", code_of(error) or message_of(error))
        time.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311 - no secret
        pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)


def find_session(cloud: Cloud, region: str, session: str) -> str:
    """The id of the instance of that session, as far as AWS shows it already; empty when it shows none.

    Raises:
        InstanceError: AWS refuses to say.
    """
    with trying("look for an instance"):
        answer = cloud.ec2(region).describe_instances(Filters=[{"Name": f"tag:{tags.SESSION}", "Values": [session]}])
    found = [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]
    alive = [instance for instance in found if instance["State"]["Name"] not in ("shutting-down", "terminated")]
    return str((alive or found)[0]["InstanceId"]) if found else ""


def is_shown_by_now(asked_at: float) -> bool:
    """Whether an instance asked for at ``asked_at`` (seconds since the epoch) would be seen by now.

    What was asked for in the future was written by a clock that was wrong: nothing is waited for until then.
    """
    return not 0 <= time.time() - asked_at <= _SHOWN_WITHIN_S
