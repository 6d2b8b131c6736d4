"""Whose jobs and uploads a request may see: those its own token made, or all of them."""

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

_KEY = "acceleratorAPI.client"


@dataclass(frozen=True, slots=True)
class Client:
    """Who sends a request.

    Attributes:
        id: of its token, empty on a node that asks for none.
        everything: it sees what others made, too: an administrator, or a program on a node without tokens.
    """

    id: str
    everything: bool

    @property
    def only(self) -> str | None:
        """Whose it sees, ``None`` for everybody's."""
        return None if self.everything else self.id

    def sees(self, client: str) -> bool:
        """Whether what ``client`` made is there for this one."""
        return self.everything or client == self.id


# A node without tokens listens to its own machine alone.
ANYBODY = Client("", everything=True)


def set_client(scope: Scope, client: Client) -> None:
    """Write down who sends the request."""
    scope[_KEY] = client


def client_of(request: HTTPConnection) -> Client:
    """Who sends the request, as the guard found."""
    client: Client = request.scope[_KEY]
    return client


async def own_job(service: Service, request: HTTPConnection, number: int, wait_s: float = 0) -> JobRow:
    """A job's row, after waiting at most ``wait_s`` seconds for its end.

    Raises:
        NotFoundError: no such job, or another's: which of the two is nobody's business.
    """
    row = await service.engine.job(number)
    if not client_of(request).sees(row.client):
        raise NotFoundError(f"there is no job {number} on this node")
    return await service.engine.job(number, wait_s) if wait_s else row


def own_upload(service: Service, request: HTTPConnection, identifier: str) -> Upload:
    """The upload of that id.

    Raises:
        NotFoundError: there is none, no more, or it is another's.
    """
    upload = service.uploads.get(identifier)
    if not client_of(request).sees(upload.row.client):
        raise NotFoundError(f"there is no upload {identifier[:64]!r} on this node (any more)")
    return upload
