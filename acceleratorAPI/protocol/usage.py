"""Usage events as they cross the network: CloudEvents 1.0, one for the end of a job."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

BATCH_TYPE = "application/cloudevents-batch+json"
MOST_EVENTS = 500
# So old may an event be that a store counts, and so long may the signature of a report hold that waits for it.
OLDEST_S = 400 * 86400
_LARGEST = 2**63 - 1


def _with_zone(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("lacks a time zone")
    return value


def _no_zero(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a zero byte")
    return value


# JSON numbers are exact to 2^53 in many languages only.
Count = Annotated[int, Field(ge=0, le=_LARGEST), PlainSerializer(str, return_type=str, when_used="json")]
Moment = Annotated[datetime, AfterValidator(_with_zone)]
Name = Annotated[str, Field(max_length=64), AfterValidator(_no_zero)]
Word = Annotated[str, Field(max_length=40), AfterValidator(_no_zero)]


class UsageData(BaseModel):
    """What a job used.

    Attributes:
        job: its id on the node.
        engine: the driver's name.
        bytes_in: read by the function; in text, like all counts.
        bytes_out: written by it.
        engine_us: microseconds its kernels worked.
        wall_us: microseconds it took.
        attempt: how often a node had begun with it.
    """

    model_config = ConfigDict(extra="ignore")

    job: Name
    function: Name
    function_version: Word = ""
    engine: Word = ""
    status: Literal["succeeded", "failed", "cancelled"]
    bytes_in: Count = 0
    bytes_out: Count = 0
    engine_us: Count = 0
    wall_us: Count = 0
    attempt: Annotated[int, Field(ge=1, le=1000)] = 1


class UsageEvent(BaseModel):
    """One event; ``source`` and ``id`` together are unique for ever.

    Attributes:
        source: ``/nodes/ID``.
        subject: the application's client id.
        time: when the job ended.
    """

    model_config = ConfigDict(extra="ignore")

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_no_zero)]
    source: Name
    type: Literal["dev.acceleratorapi.usage.v1"] = "dev.acceleratorapi.usage.v1"
    subject: Name
    time: Moment
    datacontenttype: Literal["application/json"] = "application/json"
    data: UsageData


class Refusal(BaseModel):
    """An event that was not taken, and will not be."""

    id: str
    reason: str


class SignedReport(BaseModel):
    """A batch that its node has signed, for anybody to bring to the store: as it is, or not at all.

    Attributes:
        store: URL of the store it is for.
        body: the batch, as JSON text.
        signature: goes with it as bearer token; it holds as long as the store takes the batch's events.
    """

    store: str
    body: str
    signature: str


class QuotaLeft(BaseModel):
    """What an application may still use until the month's end; ``None`` for any amount."""

    until: datetime
    jobs: int | None = None
    bytes: int | None = None


class BatchAnswer(BaseModel):
    """What became of each event of a batch, by its id.

    Attributes:
        accepted: counted now.
        duplicate: counted before.
        rejected: never counted.
        quotas: what the batch's applications have left, by client id.
    """

    accepted: list[str] = []
    duplicate: list[str] = []
    rejected: list[Refusal] = []
    quotas: dict[str, QuotaLeft] = {}


def event_id(node: str, job: str) -> str:
    """The id of the event of a job's end: the same however often it is made."""
    return str(uuid.uuid5(uuid.UUID(node), f"job/{job}"))
