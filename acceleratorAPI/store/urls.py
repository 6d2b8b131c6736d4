"""Where everything is."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path
from django.views.decorators.http import require_safe

from acceleratorAPI.store import oauth
from acceleratorAPI.store.api.v1 import api
from acceleratorAPI.store.pages import accounts, catalogue, health, keys, usage

oauth_patterns = [
    path("token/", oauth.Token.as_view(), name="token"),
    path("introspect/", oauth.Introspect.as_view(), name="introspect"),
    path("revoke_token/", oauth.Revoke.as_view(), name="revoke-token"),
]

urlpatterns = [
    path("", require_safe(catalogue.catalogue), name="catalogue"),
    path("functions/<slug:name>/", require_safe(catalogue.function), name="function"),
    path("sign-up/", accounts.sign_up, name="sign-up"),
    path("sign-in/", accounts.SignInPage.as_view(), name="sign-in"),
    path("sign-out/", auth.LogoutView.as_view(), name="sign-out"),
    path("password/", accounts.PasswordPage.as_view(), name="password_reset"),
    path("password/sent/", auth.PasswordResetDoneView.as_view(), name="password_reset_done"),
    path("password/<uidb64>/<token>/", auth.PasswordResetConfirmView.as_view(), name="password_reset_confirm"),
    path("password/done/", auth.PasswordResetCompleteView.as_view(), name="password_reset_complete"),
    path("keys/", keys.keys, name="keys"),
    path("keys/<slug:client_id>/", keys.key, name="key"),
    path("keys/<slug:client_id>/rotate/", keys.rotate, name="rotate"),
    path("keys/<slug:client_id>/revoke/", keys.revoke, name="revoke"),
    path("usage/", require_safe(usage.dashboard), name="usage"),
    path("usage/chart.svg", require_safe(usage.chart), name="chart"),
    path("usage/jobs/", require_safe(usage.jobs), name="jobs"),
    path("usage/usage.csv", require_safe(usage.export), name="csv"),
    path("organisation/", require_safe(accounts.organisation), name="organisation"),
    path("organisation/budget/", accounts.budget, name="budget"),
    path("organisation/members/", accounts.add_member, name="add-member"),
    path("organisation/members/<int:number>/remove/", accounts.remove_member, name="remove-member"),
    path("organisation/<uuid:organisation>/choose/", accounts.choose, name="choose"),
    path("o/", include((oauth_patterns, "oauth2_provider"))),
    path(".well-known/jwks.json", oauth.jwks, name="jwks"),
    path(".well-known/oauth-authorization-server", oauth.metadata, name="metadata"),
    path("auth/getlastcspconfiguration/", require_safe(health.last_csp_configuration)),
    path("api/v1/", api.urls),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", require_safe(health.prometheus)),
    path("admin/", admin.site.urls),
]
