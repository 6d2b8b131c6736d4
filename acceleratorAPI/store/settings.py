"""Django's settings, from the environment. ``acceleratorapi store`` sets it; docs/store.md lists it."""

from __future__ import annotations

import ipaddress
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
import django_stubs_ext
import platformdirs
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from acceleratorAPI.store.keyring import Keyring

django_stubs_ext.monkeypatch()  # generics of Django that only its stubs have otherwise

STATE_VARIABLE = "STORE_STATE"
URL_VARIABLE = "STORE_URL"
DEFAULT_URL = "http://127.0.0.1:8420"

HERE = Path(__file__).parent


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


STORE_STATE = Path(
    os.environ.get(STATE_VARIABLE) or platformdirs.user_state_path("acceleratorapi", appauthor=False) / "store"
)
_ring = Keyring.load(STORE_STATE)
SECRET_KEY = _ring.secret_key
STORE_PEPPER = _ring.pepper
STORE_SIGNING_KEYS = _ring.signing

# How people and nodes reach the store; the issuer of its tokens.
STORE_URL = (os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
_parts = urlsplit(STORE_URL)
if _parts.scheme not in ("http", "https") or not _parts.hostname:
    raise ImproperlyConfigured(f"{URL_VARIABLE} = {STORE_URL!r}: use a URL like https://store.example.org")
_https = _parts.scheme == "https"
if not _https and not _loopback(_parts.hostname):
    raise ImproperlyConfigured(f"{URL_VARIABLE} = {STORE_URL!r}: off this machine keys travel by https:// alone")

DEBUG = False
ALLOWED_HOSTS = [_parts.hostname, *(("127.0.0.1", "localhost", "[::1]") if _loopback(_parts.hostname) else ())]
CSRF_TRUSTED_ORIGINS = [f"{_parts.scheme}://{_parts.netloc}"]
ROOT_URLCONF = "acceleratorAPI.store.urls"
WSGI_APPLICATION = "acceleratorAPI.store.wsgi.application"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"

INSTALLED_APPS = [
    "acceleratorAPI.store",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "oauth2_provider",
    "ninja",
    "axes",
    "csp",
    "bulma",
]

MIDDLEWARE = [
    "acceleratorAPI.store.middleware.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "acceleratorAPI.store.pages.context.place",
            ],
        },
    }
]

DATABASES: dict[str, Any] = {
    "default": dj_database_url.config(
        default=f"sqlite:///{STORE_STATE / 'store.db'}", conn_max_age=60, conn_health_checks=True
    )
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Writers queue from the start of their transaction, so that none fails half-way because another one wrote.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
elif find_spec("psycopg") is None:
    raise ImproperlyConfigured("DATABASE_URL names another database than SQLite: pip install psycopg[binary]")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Counts of rate limits. One process serves by default; several need a cache they share.
if cache_url := os.environ.get("STORE_CACHE"):
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": cache_url}}
else:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "store"}}
    SILENCED_SYSTEM_CHECKS = ["django_ratelimit.E003", "django_ratelimit.W001"]

AUTH_USER_MODEL = "store.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "keys"
LOGOUT_REDIRECT_URL = "catalogue"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_USERNAME_FORM_FIELD = "username"
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_TEMPLATE = "store/locked.html"
AXES_VERBOSE = False

# Who may sign up: everybody (the default), or nobody but whom an operator makes.
STORE_SIGN_UP = os.environ.get("STORE_SIGN_UP", "open") == "open"
STORE_CURRENCY = os.environ.get("STORE_CURRENCY", "EUR")
STORE_METRICS_TOKEN = os.environ.get("STORE_METRICS_TOKEN", "")

# What an access key may do.
STORE_SCOPES = {
    "process": "Use functions on nodes",
    "usage:read": "Read the organisation's usage",
    "catalogue:write": "Publish functions",
    "introspection": "Check tokens of the organisation",
}
OAUTH2_PROVIDER_APPLICATION_MODEL = "store.Application"
OAUTH2_PROVIDER = {
    "ACCESS_TOKEN_EXPIRE_SECONDS": 600,
    "ACCESS_TOKEN_GENERATOR": "acceleratorAPI.store.tokens.access_token",
    "OAUTH2_VALIDATOR_CLASS": "acceleratorAPI.store.validator.Validator",
    "APPLICATION_ADMIN_CLASS": "acceleratorAPI.store.admin.ApplicationAdmin",
    "SCOPES_BACKEND_CLASS": "acceleratorAPI.store.validator.ApplicationScopes",
    "SCOPES": STORE_SCOPES,
    "OIDC_ISS_ENDPOINT": STORE_URL,
    "OAUTH2_GRANT_TYPES_SUPPORTED": ["client_credentials"],
    "OAUTH2_RESPONSE_TYPES_SUPPORTED": [],
    "PKCE_REQUIRED": True,
    "ALLOWED_REDIRECT_URI_SCHEMES": ["https"],
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    **{
        f"COMPLIANT_BCP_RFC9700_{gate}": True
        for gate in (
            "IMPLICIT_GRANT",
            "PASSWORD_GRANT",
            "PKCE_METHOD",
            "ACCESS_TOKEN_TRANSPORT",
            "AUTHZ_RESPONSE_ISS",
            "TOKEN_STORAGE",
            "REFRESH_TOKEN",
            "REDIRECT_URI_SCHEME",
            "REDIRECT_URI_MATCHING",
            "PKCE_REQUIRED",
        )
    },
}

SECURE_SSL_REDIRECT = _https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _https else None
SECURE_HSTS_SECONDS = 365 * 86400 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _https
SECURE_HSTS_PRELOAD = _https
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 86400
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],  # Bulma draws its arrows in data: images
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

DATA_UPLOAD_MAX_MEMORY_SIZE = 4 << 20
STATIC_URL = "static/"
STATIC_ROOT = None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True  # from the packages themselves: no collectstatic before the first start
WHITENOISE_AUTOREFRESH = False

EMAIL_TIMEOUT = 10  # seconds: a mail server that hangs must not hold up a node's report for longer
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
if smtp := os.environ.get("STORE_SMTP"):
    # smtp://user:password@host:587, smtps:// for TLS from the first byte
    _mail = urlsplit(smtp)
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST, EMAIL_PORT = _mail.hostname or "localhost", _mail.port or 587
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail.username or "", _mail.password or ""
    EMAIL_USE_SSL, EMAIL_USE_TLS = _mail.scheme == "smtps", _mail.scheme == "smtp" and bool(_mail.username)
DEFAULT_FROM_EMAIL = SERVER_EMAIL = os.environ.get("STORE_MAIL_FROM", f"store@{_parts.hostname}")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "level": "INFO"},
        "django.request": {"level": "ERROR"},
        "axes": {"level": "WARNING"},
        "oauth2_provider": {"level": "WARNING"},
        # At DEBUG, whoever asks for it, the one writes tokens and the other what is in the database.
        "oauthlib": {"level": "WARNING"},
        "django.db.backends": {"level": "INFO"},
    },
}
