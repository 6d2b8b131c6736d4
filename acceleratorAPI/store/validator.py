"""How django-oauth-toolkit checks our applications: secrets are rows of their own, scopes an application's."""

from __future__ import annotations

from typing import Any

from oauth2_provider.oauth2_validators import OAuth2Validator
from oauth2_provider.scopes import SettingsScopes

from acceleratorAPI.store.models import Application


class Validator(OAuth2Validator):  # type: ignore[misc]  # the library has no types
    """Looks secrets up where ours are."""

    def _load_application(self, client_id: str, request: Any) -> Any:
        application = super()._load_application(client_id, request) if client_id else None
        if application is not None:
            # The library hands this column to _check_secret; ours is always empty.
            application.client_secret = application
        return application

    def _check_secret(self, provided_secret: str, stored_secret: Application) -> bool:
        return stored_secret.check_secret(provided_secret)


class ApplicationScopes(SettingsScopes):  # type: ignore[misc]
    """Each application has its own scopes; a request that names none gets all of them."""

    def get_available_scopes(self, application: Application | None = None, *args: Any, **kwargs: Any) -> list[str]:
        """What a token of ``application`` may allow."""
        return application.scopes.split() if application is not None else list(self.get_all_scopes())

    def get_default_scopes(self, application: Application | None = None, *args: Any, **kwargs: Any) -> list[str]:
        """All of these."""
        return self.get_available_scopes(application)
