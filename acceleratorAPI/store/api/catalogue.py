"""The catalogue: what anybody may read, and how functions get into it."""

from __future__ import annotations

from typing import Any, Literal

from django.db import transaction
from django.http import HttpRequest
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field, ValidationError

from acceleratorAPI.errors import InputError, NotFoundError, PermissionDeniedError, StateError
from acceleratorAPI.protocol.cards import CatalogueEntry
from acceleratorAPI.store.api.access import ApplicationToken
from acceleratorAPI.store.api.problems import Problem
from acceleratorAPI.store.models import Application, AuditEntry, Function, FunctionVersion
from acceleratorAPI.store.models.catalogue import NANO
from acceleratorAPI.store.shop import listed

router = Router(tags=["catalogue"])
_PUBLISHER = ApplicationToken("catalogue:write")
Nano = Field(0, ge=0, le=10**15, description="In 10^-9 of the store's currency.")


class Region(Schema):
    """What an instance of one region is made of."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(max_length=200)
    instancetype: str = Field(max_length=100)
    fpgaimage: str = Field("", max_length=200)


class Draft(Schema):
    """A version to be published."""

    model_config = ConfigDict(extra="forbid")

    card: dict[str, Any]
    docs: str = Field("", max_length=200_000, description="Markdown.")
    unit: str = Field("GB", max_length=40)
    price_job_nano: int = Nano
    price_gb_nano: int = Nano
    requirements: dict[str, dict[str, Region]] = Field(default_factory=dict)


class State(Schema):
    """What becomes of a version."""

    state: Literal["published", "withdrawn"]


class Version(Schema):
    """A version of a function."""

    name: str
    version: str
    state: str
    title: str
    card: dict[str, Any]
    docs: str
    unit: str
    price_job_nano: int
    price_gb_nano: int
    requirements: dict[str, dict[str, Region]]

    @classmethod
    def of(cls, row: FunctionVersion) -> Version:
        """A row as callers see it."""
        names = ("version", "state", "title", "card", "docs", "unit", "price_job_nano", "price_gb_nano", "requirements")
        return cls(name=row.function.name, **{name: getattr(row, name) for name in names})


@router.get("/functions", response={200: list[Version], 422: Problem})
def functions(request: HttpRequest, q: str = "") -> list[Version]:
    """The published functions, by name; with `q` those whose name, title or description holds every word of it."""
    return [Version.of(row) for row in listed(q)]


@router.get("/functions/{name}", response={200: Version, 404: Problem, 422: Problem})
def function(request: HttpRequest, name: str) -> Version:
    """The published version of a function."""
    found = next((row for row in listed("") if row.function.name == name), None)
    if found is None:
        raise NotFoundError(f"no function {name!r} is published here")
    return Version.of(found)


@router.post(
    "/functions",
    auth=_PUBLISHER,
    response={201: Version, 401: Problem, 403: Problem, 409: Problem, 400: Problem, 422: Problem},
)
def draft(request: HttpRequest, body: Draft) -> Status[Version]:
    """Bring a version of a function, as a draft. The first to bring a name owns it."""
    application: Application = request.auth  # type: ignore[attr-defined]
    try:
        entry = CatalogueEntry.model_validate(body.card)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"card.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    _check_names(entry)
    if _holds_zero(body.model_dump()):
        raise InputError("the body holds a zero byte, which no database keeps: leave it out")
    with transaction.atomic():
        owner = application.organisation
        function, _ = Function.objects.get_or_create(name=entry.name, defaults={"owner": owner})
        if function.owner_id != owner.id:
            raise PermissionDeniedError(f"the function {entry.name!r} belongs to another organisation")
        row = FunctionVersion.objects.select_for_update().filter(function=function, version=entry.version).first()
        if row is not None and row.state != FunctionVersion.State.DRAFT:
            raise StateError(f"{entry.name} {entry.version} is {row.state} already: bring a new version")
        row = row or FunctionVersion(function=function, version=entry.version)
        row.card, row.title = entry.model_dump(mode="json"), entry.title
        row.search = f"{entry.name} {entry.title} {entry.description}".lower()
        row.docs, row.unit = body.docs, body.unit
        row.price_job_nano, row.price_gb_nano = body.price_job_nano, body.price_gb_nano
        row.requirements = {
            p: {r: v.model_dump() for r, v in regions.items()} for p, regions in body.requirements.items()
        }
        row.save()
        AuditEntry.note("function.draft", application, owner, str(row))
    return Status(201, Version.of(row))


@router.post(
    "/functions/{name}/versions/{version}/state",
    auth=_PUBLISHER,
    response={200: Version, 400: Problem, 401: Problem, 403: Problem, 404: Problem, 409: Problem, 422: Problem},
)
def change_state(request: HttpRequest, name: str, version: str, body: State) -> Version:
    """Publish a draft, or withdraw what was published."""
    application: Application = request.auth  # type: ignore[attr-defined]
    with transaction.atomic():
        row = (
            FunctionVersion.objects.select_for_update(of=("self",))
            .select_related("function")
            .filter(function__name=name, version=version, function__owner=application.organisation)
            .first()
            if "\0" not in name + version
            else None
        )
        if row is None:
            raise NotFoundError(f"your organisation has no {name} {version}")
        row.move_to(FunctionVersion.State(body.state))
        AuditEntry.note(f"function.{body.state}", application, application.organisation, str(row))
    return Version.of(row)


def _holds_zero(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_zero(part) for part in (*value, *value.values()))
    if isinstance(value, list):
        return any(map(_holds_zero, value))
    return isinstance(value, str) and "\0" in value


def _check_names(entry: CatalogueEntry) -> None:
    if not (
        entry.name.isascii()
        and entry.name.replace("_", "").isalnum()
        and entry.name.islower()
        and len(entry.name) <= 64
    ):
        raise InputError(f"card.name = {entry.name[:80]!r}: use small letters, digits and _, at most 64")
    if not entry.version or len(entry.version) > 40 or "/" in entry.version:
        raise InputError(f"card.version = {entry.version[:60]!r}: use 1 to 40 characters without /")


__all__ = ["NANO", "router"]
