"""The conformance tests of a function. A package that adds one subclasses ``FunctionContract`` in its own tests."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from acceleratorAPI.drivers.base import Source, Target
from acceleratorAPI.errors import InputError, ParameterError
from acceleratorAPI.functions.base import Function, Outcome, check_parameters
from acceleratorAPI.native.folder import FolderReader

_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class FunctionContract:
    """What every function must keep. Name the subclass ``Test...``, set ``function``, write ``check``.

    Attributes:
        function: the class under test.
        configure_values: parameters of ``start``.
        process_values: parameters of ``process``.
        borders: sizes in bytes at which the function works differently; inputs around them are tried.
        stream_bytes: how much is streamed to prove that memory is bounded.
        repeatable: the same input gives the same output; false for a function that draws at random.
    """

    function: ClassVar[type[Function[Any, Any]]]
    configure_values: ClassVar[Mapping[str, Any]] = {}
    process_values: ClassVar[Mapping[str, Any]] = {}
    borders: ClassVar[tuple[int, ...]] = (4096, 1 << 16, 1 << 20)
    stream_bytes: ClassVar[int] = 192 << 20
    repeatable: ClassVar[bool] = True

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        """Assert that ``got`` is right for ``given``, by means independent of the function."""
        raise NotImplementedError

    def check_folder(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        """Assert that ``got`` is right for the folder that ``given`` is the tar stream of."""
        raise NotImplementedError

    def sample(self, size_bytes: int) -> bytes:
        """An input of that size, the same at every call; override it for a function that wants a format."""
        words = random.Random(size_bytes).choices([b"the", b"cat", b"sat_on", b"\xc3\xa9t\xc3\xa9", b"\n", b"0"], k=997)
        line = b" ".join(words)
        return (line * (size_bytes // len(line) + 1))[:size_bytes]

    @pytest.fixture
    def datafile(self) -> Path | None:
        """The configuration file; override it for a function that takes one."""
        return None

    @pytest.fixture
    def configured(self, datafile: Path | None) -> Function[Any, Any]:
        """The function, ready for ``process``."""
        return self.make(datafile)

    def make(self, datafile: Path | None, threads: int = 2) -> Function[Any, Any]:
        """A new, configured function."""
        made = self.function(threads)
        answer = made.configure(self._configure_parameters(), datafile)
        json.dumps(dict(answer))
        return made

    def run(self, function: Function[Any, Any], source: Source, target: Target) -> Outcome:
        """One ``process`` with ``process_values``; source or target is left out when the card has none."""
        values = check_parameters(self.function.process_parameters, self.process_values, self.function.card.name)
        card = self.function.card
        return function.process(
            None if card.input == "none" else source, None if card.output == "none" else target, values
        )

    def output(self, function: Function[Any, Any], given: bytes) -> bytes:
        """What the function makes of ``given``."""
        target = io.BytesIO()
        self.run(function, io.BytesIO(given), target)
        return target.getvalue()

    def _answer(self, function: Function[Any, Any], source: Source) -> tuple[bytes, dict[str, Any]]:
        target = io.BytesIO()
        outcome = self.run(function, source, target)
        return target.getvalue(), dict(outcome.specific)

    def _configure_parameters(self) -> Any:
        return check_parameters(self.function.configure_parameters, self.configure_values, self.function.card.name)

    def _right(self, function: Function[Any, Any], given: bytes) -> None:
        target = io.BytesIO()
        outcome = self.run(function, io.BytesIO(given), target)
        self.check(given, target.getvalue(), outcome)

    def _right_again(self, function: Function[Any, Any], given: bytes, got: bytes, outcome: Outcome) -> None:
        if self.repeatable:
            assert got == self.output(function, given)
        else:
            self.check(given, got, outcome)

    def test_card_and_parameters_are_described(self) -> None:
        card = self.function.card
        assert card.name
        assert card.title
        assert card.description
        assert bool(card.datafile_format) == (card.datafile != "none"), "datafile_format goes with a datafile"
        for model in (self.function.configure_parameters, self.function.process_parameters):
            for name, field in model.model_fields.items():
                assert field.description, f"parameter {name} has no description"

    def test_a_folder_is_taken_or_refused(self, configured: Function[Any, Any], tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        (folder / "empty").mkdir(parents=True)
        (folder / "file").write_bytes(self.sample(5000))
        values = check_parameters(self.function.process_parameters, self.process_values, self.function.card.name)
        target = io.BytesIO()
        with FolderReader(folder) as source:
            if not self.function.card.folder:
                with pytest.raises(InputError, match="takes no folder"):
                    configured.process_folder(source, target, values)
                return
            outcome = configured.process_folder(source, target, values)
        assert outcome.measurement.bytes_out == len(target.getvalue())
        with FolderReader(folder) as again:
            expected = again.readall()
        assert outcome.measurement.bytes_in == len(expected)
        self.check_folder(expected, target.getvalue(), outcome)

    def test_unknown_parameter_is_refused(self) -> None:
        for model in (self.function.configure_parameters, self.function.process_parameters):
            with pytest.raises(ParameterError, match="no_such_parameter"):
                check_parameters(model, {"no_such_parameter": 1}, self.function.card.name)

    @pytest.mark.parametrize("size_bytes", [0, 1, 2, 3])
    def test_tiny_input(self, configured: Function[Any, Any], size_bytes: int) -> None:
        self._right(configured, self.sample(size_bytes))

    def test_sizes_around_borders(self, configured: Function[Any, Any]) -> None:
        for border in self.borders:
            for size_bytes in (border - 1, border, border + 1, 2 * border, 2 * border + 1):
                self._right(configured, self.sample(size_bytes))

    def test_short_reads(self, configured: Function[Any, Any]) -> None:
        given = self.sample(300_001)
        if self.repeatable:
            assert self._answer(configured, _ShortReads(given)) == self._answer(configured, io.BytesIO(given))
            return
        target = io.BytesIO()
        outcome = self.run(configured, _ShortReads(given), target)
        self.check(given, target.getvalue(), outcome)

    def test_short_writes(self, configured: Function[Any, Any]) -> None:
        if self.function.card.output == "none":
            pytest.skip("the function gives no output")
        given = self.sample(300_001)
        target = _ShortWrites()
        outcome = self.run(configured, io.BytesIO(given), target)
        self._right_again(configured, given, bytes(target.taken), outcome)

    def test_same_output_every_time_on_any_number_of_threads(self, datafile: Path | None) -> None:
        if not self.repeatable:
            pytest.skip("the function's output differs every time")
        given = self.sample(3_000_017)
        answers = [self._answer(self.make(datafile, threads), io.BytesIO(given)) for threads in (1, 1, 2, 5)]
        assert all(answer == answers[0] for answer in answers)

    def test_jobs_do_not_see_each_other(self, configured: Function[Any, Any]) -> None:
        for size_bytes in (70_000, 10, 0, 70_000):
            self._right(configured, self.sample(size_bytes))

    def test_configure_twice(self, configured: Function[Any, Any], datafile: Path | None) -> None:
        configured.configure(self._configure_parameters(), datafile)
        self._right(configured, self.sample(5000))

    def test_measurement_counts_the_bytes(self, configured: Function[Any, Any]) -> None:
        given = self.sample(100_000)
        target = io.BytesIO()
        outcome = self.run(configured, io.BytesIO(given), target)
        measured = outcome.measurement
        assert measured.backend
        assert measured.kernel_s >= 0
        assert measured.bytes_in == (0 if self.function.card.input == "none" else len(given))
        assert measured.bytes_out == len(target.getvalue())
        json.dumps(dict(outcome.specific))

    def test_error_of_the_input_is_raised_and_the_next_job_works(self, configured: Function[Any, Any]) -> None:
        if self.function.card.input == "none":
            pytest.skip("the function reads no input")
        with pytest.raises(OSError, match="the disk is gone"):
            self.run(configured, _Broken(self.sample(3 << 20)), io.BytesIO())
        self._right(configured, self.sample(5000))

    def test_error_of_the_output_is_raised_and_the_next_job_works(self, configured: Function[Any, Any]) -> None:
        if self.function.card.output == "none":
            pytest.skip("the function gives no output")
        with pytest.raises(OSError, match="the disk is full"):
            self.run(configured, io.BytesIO(self.sample(3 << 20)), _Full())
        self._right(configured, self.sample(5000))

    def test_memory_is_bounded(self, configured: Function[Any, Any]) -> None:
        if self.function.card.input == "none" or not Path("/proc/self/statm").exists():
            pytest.skip("needs an input, and Linux's /proc")
        block = self.sample(1 << 20)
        # Whole samples only: half an image, say, is an error.
        size_bytes = self.stream_bytes // len(block) * len(block)
        source = _Endless(block, size_bytes)
        outcome = self.run(configured, source, _Discard())
        assert outcome.measurement.bytes_in == size_bytes
        grown = source.peak_rss_bytes - source.first_rss_bytes
        assert grown < size_bytes // 2, f"memory grew by {grown} bytes over {size_bytes} bytes of input"


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


class _ShortReads:
    """Gives less than asked for, as sockets and growing files do."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self._random = random.Random(7)

    def readinto(self, buffer: memoryview, /) -> int:
        return self._data.readinto(buffer[: self._random.choice([1, 7, 100, 5000, 40_000])])


class _Broken:
    """Fails after its data."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._data.readinto(buffer)
        if not count:
            raise OSError("the disk is gone")
        return count


class _Endless:
    """Repeats a block up to a size, and watches the memory of the process."""

    def __init__(self, block: bytes, size_bytes: int) -> None:
        self._block = memoryview(block)
        self._at = 0
        self._left = size_bytes
        self.first_rss_bytes = 0
        self.peak_rss_bytes = 0

    def readinto(self, buffer: memoryview, /) -> int:
        rss_bytes = _rss_bytes()
        self.first_rss_bytes = self.first_rss_bytes or rss_bytes
        self.peak_rss_bytes = max(self.peak_rss_bytes, rss_bytes)
        rest = self._block[self._at :]
        count = min(len(buffer), len(rest), self._left)
        buffer[:count] = rest[:count]
        self._at = (self._at + count) % len(self._block)
        self._left -= count
        return count


class _ShortWrites:
    """Takes less than given."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self._random = random.Random(11)

    def write(self, data: memoryview, /) -> int:
        part = data[: self._random.choice([1, 13, 500, 60_000])]
        self.taken += part
        return len(part)


class _Full:
    def write(self, data: memoryview, /) -> int:
        raise OSError("the disk is full")


class _Discard:
    def write(self, data: memoryview, /) -> int:
        return len(data)
