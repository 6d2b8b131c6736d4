"""What the routes share: the running node's parts in one object."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from acceleratorAPI.errors import ParameterError
from acceleratorAPI.functions import registry
from acceleratorAPI.node.courier import Couriers
from acceleratorAPI.node.database import Database
from acceleratorAPI.node.engine import Engine
from acceleratorAPI.node.lease import LeaseWatch
from acceleratorAPI.node.observer import Observer
from acceleratorAPI.node.once import Keys
from acceleratorAPI.node.pool import Pool
from acceleratorAPI.node.settings import Settings
from acceleratorAPI.node.spool import Spool
from acceleratorAPI.node.uploads import Uploads
from acceleratorAPI.node.urls import Urls
from acceleratorAPI.protocol.cards import CatalogueEntry

if TYPE_CHECKING:
    from acceleratorAPI.node.metering import Metering


@dataclass
class Service:
    """The parts of one running node."""

    settings: Settings
    database: Database
    spool: Spool
    uploads: Uploads
    couriers: Couriers
    engine: Engine
    keys: Keys
    lease: LeaseWatch
    urls: Urls
    pool: Pool
    observer: Observer
    metering: Metering | None = None

    @cached_property
    def catalogue(self) -> list[CatalogueEntry]:
        """The installed functions; they do not change while a node runs."""
        return registry.catalogue()

    def function_name(self, asked: str | None) -> str:
        """The function a request means.

        Raises:
            ParameterError: neither the request nor the node names one.
        """
        name = asked or self.settings.accelerator
        if name is None:
            raise ParameterError(
                "no accelerator is named: send env.accelerator in parameters, or start the node with --accelerator;"
                f" installed: {', '.join(sorted(registry.installed()))}"
            )
        return name
