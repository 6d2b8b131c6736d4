"""The historical face: ``AcceleratorClass`` answers ``(bool, dict)`` and never raises for what goes wrong outside.

A thin translation over ``Accelerator``. See docs/historical-api.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from acceleratorAPI.client.accelerator import Accelerator
from acceleratorAPI.client.results import ProcessResult, StartResult, StopResult, size_text
from acceleratorAPI.config import function_parameters, keywords
from acceleratorAPI.errors import AcceleratorError, ConfigurationError, InputError, ParameterError
from acceleratorAPI.protocol.stop import StopMode

__all__ = ["AcceleratorClass", "KEEP", "STOP", "TERM"]  # noqa: RUF022 - plain order, like the public list

TERM = StopMode.TERM
STOP = StopMode.STOP
KEEP = StopMode.KEEP

Answer = tuple[bool, dict[str, Any]]
Path = str | os.PathLike[str]
ParametersLike = str | Mapping[str, Any]

ResultT = TypeVar("ResultT", StartResult, ProcessResult, StopResult)
_NO_FPGA = "no FPGA: CPU kernel"


class AcceleratorClass:
    """An accelerated function on an instance: ``start``, ``process``, ``stop``.

    Each answers ``(True, {...})``, or ``(False, {"app": {"status": -1, "msg": ...}})`` when something went wrong.
    A wrong call (an unknown keyword) is a ``TypeError``; Ctrl-C passes through.
    """

    def __init__(
        self,
        accelerator: str,
        config_file: Path | None = None,
        provider: str | None = None,
        region: str | None = None,
        xlz_client_id: str | None = None,
        xlz_secret_id: str | None = None,
        csp_client_id: str | None = None,
        csp_secret_id: str | None = None,
        ssh_key: str | None = None,
        instance_id: str | None = None,
        instance_ip: str | None = None,
    ) -> None:
        """Read the settings. What is wrong with them, the first call answers.

        Args:
            accelerator: the function's name.
            config_file: an ``accelerator.conf``; without it, it is looked for.
            provider: see the setting; so for all that follow, docs/configuration.md.
            region: of the cloud.
            xlz_client_id: client id of the store's access key.
            xlz_secret_id: its secret.
            csp_client_id: client id of the cloud's access key.
            csp_secret_id: its secret.
            ssh_key: name of the SSH key.
            instance_id: reuse this instance.
            instance_ip: reuse the instance at this address.
        """
        self._accelerator: Accelerator | None = None
        self._wrong: AcceleratorError | None = None
        try:
            self._accelerator = Accelerator(
                accelerator,
                config_file=config_file or None,
                provider=provider,
                region=region,
                xlz_client_id=xlz_client_id,
                xlz_secret_id=xlz_secret_id,
                csp_client_id=csp_client_id,
                csp_secret_id=csp_secret_id,
                ssh_key=ssh_key,
                instance_id=instance_id,
                instance_ip=instance_ip,
            )
        except AcceleratorError as error:
            self._wrong = error

    def start(
        self,
        stop_mode: int | str | None = None,
        datafile: Path | None = None,
        accelerator_parameters: ParametersLike | None = None,
    ) -> Answer:
        """Start and configure an instance.

        Args:
            stop_mode: ``TERM``, ``STOP``, ``KEEP``, their numbers or either as text.
            datafile: path of the function's configuration file.
            accelerator_parameters: JSON text or dict.
        """

        def call(accelerator: Accelerator) -> StartResult:
            parameters = _parameters("accelerator_parameters", accelerator_parameters)
            return accelerator.start(datafile or None, stop_mode=stop_mode, **parameters)

        return self._answer(call, _started)

    def process(
        self,
        file_out: Path | None = None,
        file_in: Path | None = None,
        process_parameter: ParametersLike | None = None,
        *,
        accelerator_parameters: ParametersLike | None = None,
    ) -> Answer:
        """Process a file.

        Args:
            file_out: path of the output; may be missing for a function without one.
            file_in: path of the input; may be missing for a function without one.
            process_parameter: the old name of ``accelerator_parameters``.
            accelerator_parameters: JSON text or dict.
        """
        if process_parameter is not None and accelerator_parameters is not None:
            raise TypeError("process: give accelerator_parameters or process_parameter, not both")
        name = "process_parameter" if process_parameter is not None else "accelerator_parameters"
        given = process_parameter if process_parameter is not None else accelerator_parameters

        def call(accelerator: Accelerator) -> ProcessResult:
            parameters = _parameters(name, given)
            if not file_out and accelerator.gives_output:
                raise InputError(f"file_out is required: {accelerator.accelerator} gives a file")
            result = accelerator.process(file_in or None, file_out or None, **parameters)
            if not file_out and result.data is not None:
                raise InputError(
                    f"{accelerator.accelerator} gave {len(result.data)} bytes, and no file_out was named: they are "
                    "gone; name file_out next time"
                )
            return result

        return self._answer(call, self._processed)

    def stop(self, stop_mode: int | str | None = None) -> Answer:
        """Stop the accelerator, and the instance by the stop mode.

        Args:
            stop_mode: instead of the one given before.
        """
        return self._answer(lambda accelerator: accelerator.stop(stop_mode), _stopped)

    def _answer(self, call: Callable[[Accelerator], ResultT], translate: Callable[[ResultT], dict[str, Any]]) -> Answer:
        try:
            if self._accelerator is None:
                raise self._wrong or ConfigurationError("not configured")
            return True, translate(call(self._accelerator))
        except AcceleratorError as error:
            return False, {"app": {"status": -1, "msg": " ".join(str(error).split())}}

    def _processed(self, result: ProcessResult) -> dict[str, Any]:
        assert self._accelerator is not None
        profiling = {
            "backend": result.backend,
            "kernel-time": result.kernel_s,
            "R+W bandwidth (in MB/s)": result.bandwidth_mb_s,
            "Total bytes transferred": size_text(result.bytes_in + result.bytes_out),
            "hw_statistics": result.profiling.get("hw_statistics", ""),
        }
        if self._accelerator.settings.get("general", "legacy_profiling"):
            # Figures of a CPU under the names old programs read; hw_statistics says so.
            profiling["FPGA R+W bandwidth (in MB/s)"] = result.bandwidth_mb_s
            profiling["FPGA execution time"] = result.kernel_s
            profiling["hw_statistics"] = profiling["hw_statistics"] or _NO_FPGA
        return {"app": {**_app(result), "result-profiling": profiling}}


def _app(result: StartResult | ProcessResult | StopResult) -> dict[str, Any]:
    return {"msg": result.message, "specific": dict(result.specific), "status": 0}


def _started(result: StartResult) -> dict[str, Any]:
    app = _app(result)
    app["specific"].setdefault("details", {"elapsedTime": result.elapsed_s})
    if result.instance_id:
        app["msg"] = f"instance {result.instance_id} at {result.url_instance}\n{app['msg']}"
    return {"app": app, "url_instance": result.url_instance, "url_config": result.url_config}


def _stopped(result: StopResult) -> dict[str, Any]:
    app = _app(result)
    app["specific"].setdefault("my_message", str(result))
    return {"app": app}


def _parameters(name: str, given: ParametersLike | None) -> dict[str, Any]:
    try:
        return keywords(function_parameters(given, name), name)
    except ConfigurationError as error:
        raise ParameterError(str(error)) from None
