"""The routes of ``/api/v1``, put together."""

from __future__ import annotations

from ninja import NinjaAPI

from acceleratorAPI.store.api import catalogue, identity, problems, usage

api = NinjaAPI(
    title="acceleratorAPI store",
    version="1",
    description="Accounts, catalogue and metering. Tokens come from `POST /o/token/` (client credentials).",
    urls_namespace="api",
    openapi_url="/openapi.json",
)
problems.install(api)
api.add_router("", identity.router)
api.add_router("", catalogue.router)
api.add_router("", usage.router)
