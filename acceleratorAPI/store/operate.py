"""Running a store: start it, keep it tidy, back it up. Called by ``acceleratorapi store``."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path
from typing import Any

from acceleratorAPI.errors import ConfigurationError, InputError, StateError
from acceleratorAPI.files import replacing
from acceleratorAPI.store.keyring import FILE as KEYS_FILE

log = logging.getLogger(__name__)
_TIDY_EVERY_S = 3600.0
_PR_SET_PDEATHSIG = 1
_SQLITE, _POSTGRES = "store.sqlite3", "store.pgdump"


def prepare(state: Path | None = None, url: str | None = None, database: str | None = None) -> None:
    """Make Django ready for this process. What is ``None`` stays as the environment says.

    Raises:
        ConfigurationError: the extra ``store`` is not installed, or a setting is wrong.
    """
    for name, value in (("STORE_STATE", state), ("STORE_URL", url), ("DATABASE_URL", database)):
        if value is not None:
            os.environ[name] = os.fspath(value)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "acceleratorAPI.store.settings")
    try:
        import django
        from django.core.exceptions import ImproperlyConfigured
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"the store needs {error.name}: pip install 'acceleratorAPI[store]'") from None
    try:
        django.setup()
    except ImproperlyConfigured as error:
        raise ConfigurationError(" ".join(str(error).split())) from None
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"the store needs {error.name}: pip install 'acceleratorAPI[store]'") from None


def migrate() -> None:
    """Bring the database to this version.

    Raises:
        ConfigurationError: it does not answer.
    """
    from django.core.management import call_command
    from django.db import DatabaseError

    try:
        call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as error:
        raise ConfigurationError(f"cannot use the database: {' '.join(str(error).split())}") from None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; before anything else is done, so that two stores never begin on one port.

    Raises:
        ConfigurationError: another program has the port, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}; choose with --host and --port"
        ) from None


def serve(listener: socket.socket, threads: int, workers: int) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        listener: a listening socket.
        threads: requests at a time in a process.
        workers: processes; more than one need ``STORE_CACHE`` to share the counts of rate limits.
    """
    from django.conf import settings
    from gunicorn.app.base import BaseApplication

    if workers > 1 and "locmem" in settings.CACHES["default"]["BACKEND"]:
        raise ConfigurationError(f"--workers {workers}: set STORE_CACHE=redis://... so that they share rate limits")
    options: dict[str, Any] = {
        "bind": f"fd://{listener.fileno()}",
        "workers": workers,
        "threads": threads,
        "worker_class": "gthread",
        "graceful_timeout": 10,
        "keepalive": 15,
        "control_socket_disable": True,
        "loglevel": "warning",
        "post_fork": lambda _, __: _end_with_main_process(),
        "post_worker_init": lambda _: threading.Thread(target=_keep_tidy, daemon=True, name="tidy").start(),
    }

    class Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
        def load_config(self) -> None:
            for name, value in options.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> Any:
            from acceleratorAPI.store.wsgi import application

            return application

    Application().run()


def _end_with_main_process() -> None:
    """A process that serves is killed when the main one is: else it would hold the port against the next store."""
    with contextlib.suppress(OSError, AttributeError):  # not on this system
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _keep_tidy() -> None:
    while True:
        try:
            tidy()
        except Exception:
            log.exception("old tokens could not be removed")
        threading.Event().wait(_TIDY_EVERY_S)


def tidy() -> None:
    """Remove tokens and sessions that have ended."""
    from django.contrib.sessions.backends.db import SessionStore
    from django.db import close_old_connections
    from oauth2_provider.models import clear_expired

    clear_expired()
    SessionStore.clear_expired()
    close_old_connections()


def make_operator(email: str, password: str) -> None:
    """An account that may use the admin pages; of one that exists, the password is set.

    Raises:
        InputError: the password is too weak.
    """
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    from acceleratorAPI.store.models import AuditEntry, Organisation, User

    user = User.objects.filter(email=User.normal_email(email)).first() or User(email=User.normal_email(email))
    try:
        user.full_clean(exclude=["password"])
        validate_password(password, user)
    except ValidationError as error:
        raise InputError(" ".join(error.messages)) from None
    user.is_staff = user.is_superuser = True
    user.set_password(password)
    user.save()
    if not user.memberships.exists():
        Organisation.found("Operators", user)
    AuditEntry.note("operator.set", "operator", None, user.email)


def backup(target: Path) -> None:
    """Write database and keys into one gzipped tar file, readable by its owner alone.

    Raises:
        ConfigurationError: ``pg_dump`` is missing or fails.
        FileAccessError: the file cannot be written.
    """
    from django.conf import settings

    if not target.exists():
        # Its mode is what the file that takes its place gets.
        with contextlib.suppress(OSError):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / (_SQLITE if _is_sqlite() else _POSTGRES)
        _dump(dump)
        with replacing(target, durable=True) as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            archive.add(settings.STORE_STATE / KEYS_FILE, KEYS_FILE)
            archive.add(dump, dump.name)


def restore(source: Path, state: Path) -> None:
    """Bring a backup into an empty store.

    Raises:
        StateError: there is something already.
        InputError: this is no backup of a store on such a database.
    """
    if (state / KEYS_FILE).exists() or (state / "store.db").exists():
        raise StateError(f"{str(state)!r} has a store: name an empty folder with --state")
    postgres = not os.environ.get("DATABASE_URL", "sqlite").startswith("sqlite")
    wanted = _POSTGRES if postgres else _SQLITE
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder)
        try:
            with tarfile.open(source, "r:gz") as archive:
                for name in (KEYS_FILE, wanted):
                    _unpack(archive, name, unpacked / name)
        except (tarfile.TarError, OSError, EOFError, KeyError) as error:
            raise InputError(f"{str(source)!r} is no backup with {wanted!r}: {error}") from None
        if postgres:
            # In one transaction: what is there already stays as it is.
            _run("pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", "--dbname",
                 os.environ["DATABASE_URL"], os.fspath(unpacked / wanted))  # fmt: skip
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not postgres:
            _place(unpacked / wanted, state / "store.db")
        # The keys last: with them it is a store.
        _place(unpacked / KEYS_FILE, state / KEYS_FILE)


def _unpack(archive: tarfile.TarFile, name: str, target: Path) -> None:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    with file, target.open("wb") as out:
        shutil.copyfileobj(file, out, 1 << 20)


def _place(source: Path, target: Path) -> None:
    # Its mode is what the file that takes its place gets.
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with replacing(target, durable=True) as file, source.open("rb") as unpacked:
        shutil.copyfileobj(unpacked, file, 1 << 20)


def _is_sqlite() -> bool:
    from django.db import connection

    return connection.vendor == "sqlite"


def _dump(target: Path) -> None:
    from django.conf import settings

    if _is_sqlite():
        # While it is in use: SQLite's own backup takes one moment's state.
        name = settings.DATABASES["default"]["NAME"]
        with contextlib.closing(sqlite3.connect(name)) as source, contextlib.closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
        return
    _run("pg_dump", "--format=custom", "--file", os.fspath(target), "--dbname", os.environ["DATABASE_URL"])


def _run(program: str, *arguments: str) -> None:
    path = shutil.which(program)
    if path is None:
        raise ConfigurationError(f"{program} is not installed: it comes with PostgreSQL's client programs")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigurationError(f"{program}: {' '.join(done.stderr.split())[:300]}")
