"""Whose jobs and uploads a request may see: those made with its own token, or all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection
from starlette.types import Scope

from acceleratorAPI.errors import NotFoundError
from acceleratorAPI.node.rows import JobRow

if TYPE_CHECKING:
    from acceleratorAPI.node.service import Service
    from acceleratorAPI.node.uploads import Upload

_KEY = "acceleratorAPI.owner"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who sends a request.

    Attributes:
        id: of its token, empty on a node that asks for none.
        everything: it sees what others made, too: an administrator, or a program on a node without tokens.
    """

    id: str
    everything: bool

    def sees(self, owner: str) -> bool:
        """Whether what ``owner`` made is there for this one."""
        return self.everything or owner == self.id


# A node without tokens listens to its own machine alone.
ANYBODY = Owner("", everything=True)


def set_owner(scope: Scope, owner: Owner) -> None:
    """Write down who sends the request."""
    scope[_KEY] = owner


def owner_of(request: HTTPConnection) -> Owner:
    """Who sends the request, as the guard found."""
    owner: Owner = request.scope[_KEY]
    return owner


async def own_job(service: Service, request: HTTPConnection, number: int, wait_s: float = 0) -> JobRow:
    """A job's row, after waiting at most ``wait_s`` seconds for its end.

    Raises:
        NotFoundError: no such job, or another's: which of the two is nobody's business.
    """
    row = await service.engine.job(number)
    if not owner_of(request).sees(row.owner):
        raise NotFoundError(f"there is no job {number} on this node")
    return await service.engine.job(number, wait_s) if wait_s else row


def own_upload(service: Service, request: HTTPConnection, identifier: str) -> Upload:
    """The upload of that id.

    Raises:
        NotFoundError: there is none, no more, or it is another's.
    """
    upload = service.uploads.get(identifier)
    if not owner_of(request).sees(upload.row.owner):
        raise NotFoundError(f"there is no upload {identifier[:64]!r} on this node (any more)")
    return upload
