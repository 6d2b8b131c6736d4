"""Usage whose node ended before the store took it: kept on this machine, and brought to the store by the next one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from pathlib import Path

from pydantic import ValidationError

from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.store import StoreClient
from acceleratorAPI.client.transfer import write_all
from acceleratorAPI.config import Configuration, state_folder
from acceleratorAPI.errors import AcceleratorError, AuthenticationError, ConfigurationError
from acceleratorAPI.files import access_error, replacing
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.protocol.usage import SignedReport

_log = logging.getLogger(__name__)

FOLDER = "reports"
_REFUSED = ".refused"


class Reports:
    """The folder of reports that wait for their store; each is a file, named by what it holds."""

    def __init__(self, folder: Path) -> None:
        """Take ``folder``, which need not exist yet."""
        self.folder = folder

    @classmethod
    def of(cls, settings: Configuration) -> Reports | None:
        """This user's; ``None`` when no store is configured."""
        return cls(state_folder(settings) / FOLDER) if settings.get("accelize", "url") else None

    def take_from(self, node: NodeClient, stop_mode: StopMode) -> None:
        """Keep what a node that is about to end has left; never raises, as that must not keep it from ending."""
        # A signal may come while the node's own connections are in somebody's hands.
        own = node.twin()
        try:
            for report in own.unsent_usage(cancel=stop_mode is StopMode.TERM):
                self._keep(report)
        except (AcceleratorError, OSError) as error:
            # Whatever fails here, the instance is ended all the same.
            lost = "is on its disk" if stop_mode is StopMode.STOP else "may be lost"
            _log.warning("usage of %s that its store has not taken yet %s: %s", node.url, lost, error)
        finally:
            own.close()

    def bring(self, store: StoreClient) -> None:
        """Bring the store what waits for it. What it does not take stays, and is said."""
        for path in sorted(self.folder.glob("*.json")):
            try:
                report = SignedReport.model_validate_json(path.read_bytes())
            except FileNotFoundError:
                continue  # another process was quicker
            except (OSError, ValidationError) as error:
                _log.error("usage in %s cannot be read: %s", path, error)
                continue
            if report.store != store.url:
                continue
            try:
                answer = store.report(report)
                for refusal in answer.rejected:
                    _log.error("the store refuses usage %s: %s", refusal.id, refusal.reason)
            except (AuthenticationError, ConfigurationError) as error:
                _log.error("the store refuses the usage in %s: %s", path, error)
                with contextlib.suppress(OSError):
                    path.rename(path.with_suffix(_REFUSED))
            except AcceleratorError as error:
                _log.warning("usage waits for the store: %s", error)
                return
            else:
                told = {*answer.accepted, *answer.duplicate, *(refusal.id for refusal in answer.rejected)}
                if told >= {event["id"] for event in json.loads(report.body)}:
                    path.unlink(missing_ok=True)
                else:
                    _log.warning("usage in %s waits: the store's answer does not say what became of it", path)

    def _keep(self, report: SignedReport) -> None:
        path = self.folder / f"{hashlib.sha256(report.body.encode()).hexdigest()[:32]}.json"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise access_error("write", self.folder, error) from error
        with replacing(path, durable=True) as file:
            write_all(file, report.model_dump_json().encode())
