"""The servers of ``tests/support``."""

from google_server import gs  # noqa: F401
from remote_servers import _certificate, _moto, s3, web  # noqa: F401
