"""The end of what a forgotten accelerator holds: at object closure, script end and SIGTERM. SIGKILL is the lease's."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable
from types import FrameType

from acceleratorAPI.client.session import Session

_live: list[Session] = []
_previous: object = signal.SIG_DFL


def hold(holder: object, session: Session) -> Callable[[], object]:
    """Close ``session`` when ``holder`` is gone, the script ends or SIGTERM comes.

    The signal handler is there only while sessions live, and only when the first was held from the main thread;
    it calls the handler that was there before, or lets the signal do what it would have done.

    Returns:
        To be called when the session has ended by itself: nothing is to be closed any more.
    """
    _live.append(session)
    finalizer = weakref.finalize(holder, _close, session)
    _install()

    def release() -> None:
        finalizer.detach()
        _forget(session)

    return release


def _forget(session: Session) -> None:
    if session in _live:
        _live.remove(session)
    if not _live:
        _uninstall()


def _close(session: Session) -> None:
    session.close()
    if os.getpid() == session.pid:
        _forget(session)


def _install() -> None:
    global _previous
    if threading.current_thread() is not threading.main_thread():
        return
    current = signal.getsignal(signal.SIGTERM)
    # None: set by C code, which we could not call. SIG_IGN: the program wants to live through SIGTERM.
    if current not in (None, signal.SIG_IGN, _on_sigterm):
        _previous = current
        signal.signal(signal.SIGTERM, _on_sigterm)


def _uninstall() -> None:
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, _previous)  # type: ignore[arg-type]  # what getsignal gave


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    for session in tuple(_live):
        session.close()
    signal.signal(signal.SIGTERM, _previous)  # type: ignore[arg-type]  # what getsignal gave
    if callable(_previous):
        _previous(number, frame)
    else:
        os.kill(os.getpid(), number)
