"""Usage in, from nodes, and out, to applications."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from typing import Annotated, Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from ninja import Query, Router, Schema
from pydantic import Field

from acceleratorAPI.errors import InputError, StateError
from acceleratorAPI.protocol.usage import MOST_EVENTS, BatchAnswer
from acceleratorAPI.store import metering, quotas, usage
from acceleratorAPI.store.api.access import ApplicationToken, NodeSignature
from acceleratorAPI.store.api.problems import Problem
from acceleratorAPI.store.models import Application, AuditEntry, Node, NodeGrant, UsageEvent

router = Router(tags=["usage"])
_READER = ApplicationToken("usage:read")
_TEXT = r"^[^\x00]*$"


class Registration(Schema):
    """A node that an application uses.

    Attributes:
        id: the node's own, random.
        public_key: its Ed25519 key as JWK.
    """

    id: uuid.UUID
    public_key: dict[str, Any]
    name: str = Field("", max_length=120, pattern=_TEXT)
    provider: str = Field("", max_length=40, pattern=_TEXT)
    region: str = Field("", max_length=40, pattern=_TEXT)
    version: str = Field("", max_length=40, pattern=_TEXT)


class Registered(Schema):
    """The node may report the application's usage from now on."""

    node: uuid.UUID
    client_id: str
    quota: quotas.Quota


class Usage(Schema):
    """Sums of some days, both counted."""

    first: date
    last: date
    by: str
    rows: list[usage.Sum]
    total: usage.Sum


class Event(Schema):
    """One job."""

    id: int
    time: datetime
    client_id: str
    function: str
    node: uuid.UUID
    job: str
    status: str
    bytes_in: int
    bytes_out: int
    cost_nano: int

    @classmethod
    def of(cls, row: UsageEvent) -> Event:
        """A row as callers see it."""
        names = ("id", "time", "function", "job", "status", "bytes_in", "bytes_out", "cost_nano")
        values = {name: getattr(row, name) for name in names}
        return cls(client_id=row.application.client_id, node=row.node_id, **values)


class Days(Schema):
    """Which days, both counted; by default the last 30."""

    first: date | None = Field(None, alias="from")
    last: date | None = Field(None, alias="to")

    @property
    def span(self) -> usage.Span:
        """These days, checked."""
        return usage.Span.of(self.first, self.last)


DaysAsked = Annotated[Days, Query(...)]
Before = Annotated[int | None, Query(ge=1, le=2**63 - 1)]


@router.post(
    "/nodes",
    auth=ApplicationToken("process"),
    response={200: Registered, 400: Problem, 401: Problem, 403: Problem, 409: Problem, 422: Problem},
)
def register(request: HttpRequest, body: Registration) -> Registered:
    """Let a node report the usage of the application whose token comes with this. Again is the same."""
    application: Application = request.auth  # type: ignore[attr-defined]
    key = _public(body.public_key)
    with transaction.atomic():
        facts = body.model_dump(include={"name", "provider", "region", "version"})
        node, new = Node.objects.get_or_create(pk=body.id, defaults={"public_key": key, **facts})
        if node.public_key != key:
            raise StateError(f"node {body.id} is registered with another key")
        _, granted = NodeGrant.objects.get_or_create(node=node, application=application)
        if new or granted:
            AuditEntry.note("node.register", application, application.organisation, str(node.pk))
    return Registered(node=node.pk, client_id=application.client_id, quota=quotas.left(application))


def _public(given: dict[str, Any]) -> dict[str, Any]:
    """The key's public half, in one spelling.

    Raises:
        InputError: it is none.
    """
    try:
        key = OKPKey.import_key({name: given[name] for name in ("kty", "crv", "x")})
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError('public_key: use {"kty": "OKP", "crv": "Ed25519", "x": ...}') from None
    if key.curve_name != "Ed25519":
        raise InputError("public_key: use the curve Ed25519")
    return {"kty": "OKP", "crv": "Ed25519", "x": str(given["x"])}


_BATCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/cloudevents-batch+json": {
                "schema": {"type": "array", "maxItems": MOST_EVENTS, "items": {"type": "object"}}
            }
        },
    }
}


@router.post(
    "/usage", auth=NodeSignature(), response={200: BatchAnswer, 400: Problem, 401: Problem}, openapi_extra=_BATCH_BODY
)
def report(request: HttpRequest) -> BatchAnswer:
    """Take a batch of usage events (CloudEvents). Each counts once for ever by (source, id), however often it comes."""
    node: Node = request.auth  # type: ignore[attr-defined]
    return metering.take(node, request.body)


_ANSWERS = {400: Problem, 401: Problem, 403: Problem, 422: Problem}


@router.get("/usage", auth=_READER, response={200: Usage, **_ANSWERS})
def sums(request: HttpRequest, days: DaysAsked, by: usage.By = "day") -> Usage:
    """What the application's organisation has used, by day, function, application or node."""
    application: Application = request.auth  # type: ignore[attr-defined]
    span = days.span
    rows = usage.sums(application.organisation, span, by)
    return Usage(first=span.first, last=span.last, by=by, rows=rows, total=usage.total(rows))


@router.get("/usage/events", auth=_READER, response={200: list[Event], **_ANSWERS})
def events(request: HttpRequest, days: DaysAsked, before: Before = None) -> list[Event]:
    """Single jobs, the newest first, 50 a page; `before` is the last id of the page before."""
    application: Application = request.auth  # type: ignore[attr-defined]
    return [Event.of(row) for row in usage.events(application.organisation, days.span, before)]


@router.get(
    "/usage.csv",
    auth=_READER,
    response={**_ANSWERS},
    openapi_extra={"responses": {200: {"description": "CSV", "content": {"text/csv": {"schema": {"type": "string"}}}}}},
)
def export(request: HttpRequest, days: DaysAsked) -> HttpResponse:
    """Every job as CSV."""
    application: Application = request.auth  # type: ignore[attr-defined]
    answer = StreamingHttpResponse(usage.as_csv(application.organisation, days.span), content_type="text/csv")
    answer["Content-Disposition"] = 'attachment; filename="usage.csv"'
    return answer  # type: ignore[return-value]
