"""The store for WSGI servers; the environment says how (docs/store.md)."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "acceleratorAPI.store.settings")
application = get_wsgi_application()
