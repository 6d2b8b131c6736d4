"""The operator's pages. What is evidence can be read there, not changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest

from acceleratorAPI.store import models

admin.site.site_header = admin.site.site_title = "Store"


class _ReadOnly(admin.ModelAdmin[Any]):
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False


@admin.register(models.User)
class _User(UserAdmin[Any]):
    ordering = ("email",)
    list_display = ("email", "name", "is_staff", "is_active")
    search_fields = ("email", "name")
    fieldsets = (
        (None, {"fields": ("email", "password", "name")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "password1", "password2")}),)


class _Members(admin.TabularInline[Any, Any]):
    model = models.Membership
    extra = 0


@admin.register(models.Organisation)
class _Organisation(admin.ModelAdmin[models.Organisation]):
    list_display = ("name", "created")
    search_fields = ("name",)
    inlines = (_Members,)


@admin.register(models.Function)
class _Function(admin.ModelAdmin[models.Function]):
    list_display = ("name", "owner", "created")
    search_fields = ("name",)


@admin.register(models.FunctionVersion)
class _Version(admin.ModelAdmin[models.FunctionVersion]):
    list_display = ("function", "version", "state", "published")
    list_filter = ("state",)
    readonly_fields = ("published",)


class ApplicationAdmin(_ReadOnly):
    """Named in the settings of django-oauth-toolkit, which registers it."""

    list_display = ("client_id", "name", "organisation", "last_used", "revoked")
    search_fields = ("client_id", "name")
    fields = (
        "client_id",
        "name",
        "organisation",
        "scopes",
        "created",
        "last_used",
        "revoked",
        "quota_jobs",
        "quota_bytes",
    )


@admin.register(models.Node)
class _Node(_ReadOnly):
    list_display = ("id", "name", "provider", "region", "seen")


@admin.register(models.UsageEvent)
class _Event(_ReadOnly):
    list_display = ("time", "organisation", "function", "status", "bytes_in", "bytes_out")
    ordering = ("-id",)


@admin.register(models.AuditEntry)
class _Audit(_ReadOnly):
    list_display = ("at", "organisation", "actor", "action", "target")
    search_fields = ("actor", "action", "target")
