"""Work in turns: threads that each take a piece of a stream, compute, and give the result, both ends in order.

One thread does all of a piece's steps, so that its bytes stay in the cache of one core.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

WorkT = TypeVar("WorkT")
ResultT = TypeVar("ResultT")


class Turns(ABC, Generic[WorkT, ResultT]):
    """A stream of work: taken in order, computed side by side, given in order. For one run.

    Attributes:
        last: the work that was taken last is known to be the last one.
    """

    def __init__(self) -> None:
        self.last = False
        self._first: WorkT | None = None  # taken before any thread was started
        self._taking = threading.Lock()
        self._ended = False  # nothing more is to be taken
        self._error: BaseException | None = None
        # Each work gets the lock that is free once the work before it has been given.
        self._turn = threading.Lock()

    @abstractmethod
    def take(self) -> WorkT | None:
        """The next work, ``None`` at the end. Called on one thread at a time."""

    @abstractmethod
    def compute(self, work: WorkT) -> ResultT:
        """The result of ``work``. Called on several threads at once; releases the GIL while it computes.

        It may wait for what the call for an earlier work does: each has a thread.
        """

    @abstractmethod
    def give(self, work: WorkT, result: ResultT) -> None:
        """Pass the result on. Called on one thread at a time, in the order in which the works were taken."""

    @abstractmethod
    def leave(self, work: WorkT) -> None:
        """Take back what ``work`` holds, whether its result was given or an error came before. In order, too."""

    def run(self, threads: int) -> None:
        """Work to the end on that many threads: no more works than that are taken and not yet left.

        The error that comes first in the order of the works ends the run and is raised as it is, those of ``take``
        included: what came before is given. Neither an error nor an interrupt ends a read or a write that is on its
        way: the run ends when that returns. A single work needs no thread.
        """
        self._first = self.take()
        if self._first is None:
            return
        if self.last:
            self._work()
        else:
            self._work_on(threads)
        if self._error is not None:
            raise self._error

    def _work_on(self, threads: int) -> None:
        workers = [threading.Thread(target=self._work, name="kernel") for _ in range(threads)]
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        finally:  # also when no thread can be started, and after an interrupt from the keyboard
            self._ended = True
            for worker in workers:
                if worker.ident is not None:
                    worker.join()

    def _work(self) -> None:
        while self._one():
            pass

    def _one(self) -> bool:
        """Do all of one work; whether there may be more."""
        with self._taking:
            if self._ended:
                return False
            turn, next_turn = self._turn, threading.Lock()
            try:
                work, self._first = self._first, None
                if work is None and not self.last:
                    work = self.take()
            except BaseException as error:  # noqa: BLE001 - raised by ``run``
                with turn:
                    self._fail(error)
                return False
            if work is None:
                self._ended = True
                return False
            next_turn.acquire()
            self._turn = next_turn
        try:
            try:
                result = self.compute(work)
            finally:
                turn.acquire()
            if self._error is None:
                self.give(work, result)
        except BaseException as error:  # noqa: BLE001 - raised by ``run``
            self._fail(error)
        finally:
            self.leave(work)
            next_turn.release()
        return True

    def _fail(self, error: BaseException) -> None:
        self._ended = True
        if self._error is None:
            self._error = error
