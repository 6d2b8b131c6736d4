"""The routes of ``/api/v1``, put together."""

from __future__ import annotations

from typing import Any

from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema

from acceleratorAPI.store.api import catalogue, identity, problems, usage


class _Described(NinjaAPI):
    """Its description names what errors are sent as."""

    def get_openapi_schema(self, **asked: Any) -> OpenAPISchema:
        """The description, with problems as ``application/problem+json``."""
        schema = super().get_openapi_schema(**asked)
        for route in schema["paths"].values():
            for operation in route.values():
                for status, answer in operation["responses"].items():
                    if int(status) >= 400:
                        answer["content"] = {problems.TYPE: answer["content"]["application/json"]}
        return schema


api = _Described(
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
