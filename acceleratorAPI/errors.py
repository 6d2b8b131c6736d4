"""Every error acceleratorAPI raises on purpose.

    AcceleratorError
    ├── ConfigurationError            accelerator.conf, an environment variable or a setting is wrong
    │   └── ProviderUnknownError      no provider of that name
    ├── InputError                    what the user handed over cannot be used
    │   ├── ParameterError            a function parameter is unknown, missing or out of range
    │   ├── DatafileError             the configuration file (a corpus, say) is malformed
    │   ├── KeyUsedError              an idempotency key was used for another request
    │   ├── CorruptInputError         the input is damaged, cut short or of another format
    │   ├── OutputLimitError          the output is larger than the node allows
    │   └── FileAccessError           a file or folder is missing or may not be read or written
    ├── FunctionUnknownError          no function of that name on the node
    ├── StateError                    the call does not fit the state ("process" before "start")
    │   └── OffsetError               a piece of an upload does not begin where the upload stands
    ├── InstanceError                 the machine could not be made, found or ended
    │   └── InstanceNotFoundError     no instance of that id or address
    ├── StoreUnreachableError         nothing answers at the store's address
    ├── NodeError                     the node's answer is not usable
    │   ├── NodeUnreachableError      nothing answers at the node's address
    │   ├── AuthenticationError       token missing or wrong
    │   ├── PermissionDeniedError     the token is right, the request is not allowed
    │   ├── QuotaError                the access key has used what it may this month
    │   ├── NotFoundError             no such resource on the node
    │   ├── MachineEndingError        the node's machine is about to be taken away
    │   ├── IntegrityError            bytes changed on their way
    │   └── NodeBusyError             queue full or ending: try again later
    │       ├── QuotaError            the client has as much under way as it may
    │       └── DiskFullError         no space left for a file on the node
    │           └── SpoolQuotaError   the client's share of that space is used up
    └── JobError                      the job ended without a result
        ├── FunctionFailedError       the function reported a failure
        ├── WorkerCrashedError        the process running the function died
        └── JobCancelledError         somebody cancelled it

A wrong call of the Python API itself (unknown keyword, missing argument) is a ``TypeError``.
Each class has a stable ``code`` that crosses the network, and the HTTP ``status`` the node answers with:
the client turns the code back into the same class.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class AcceleratorError(Exception):
    """Base of all errors of this package. ``str(error)`` is one line for a person: what, which value, what to do."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500


class ConfigurationError(AcceleratorError):
    """A setting is unknown or has a wrong value."""

    code = "configuration"
    status = 400


class ProviderUnknownError(ConfigurationError):
    """No provider has that name."""

    code = "provider-unknown"


class InputError(AcceleratorError):
    """What the user handed over cannot be used."""

    code = "input"
    status = 400


class ParameterError(InputError):
    """A function parameter is unknown, missing or out of range."""

    code = "parameter"


class DatafileError(InputError):
    """The configuration file of a function is missing or malformed."""

    code = "datafile"


class CorruptInputError(InputError):
    """The input of a function is damaged, cut short or of another format; the message says where."""

    code = "corrupt-input"


class OutputLimitError(InputError):
    """The output of a job grows beyond what the node allows (``--max-output``)."""

    code = "output-limit"
    status = 413


class FileAccessError(InputError):
    """A file or folder is missing, or may not be read or written."""

    code = "file-access"


class KeyUsedError(InputError):
    """An idempotency key was used for another request."""

    code = "key-used"
    status = 422


class FunctionUnknownError(AcceleratorError):
    """No installed function has that name."""

    code = "function-unknown"
    status = 404


class StateError(AcceleratorError):
    """The call does not fit the state the object or resource is in."""

    code = "state"
    status = 409


class OffsetError(StateError):
    """A piece of an upload does not begin where the upload stands."""

    code = "offset"


class InstanceError(AcceleratorError):
    """An instance could not be made, reached or ended."""

    code = "instance"


class InstanceNotFoundError(InstanceError):
    """No instance has that id or address."""

    code = "instance-not-found"
    status = 404


class StoreUnreachableError(AcceleratorError):
    """Nothing, or nothing that makes sense, answers at the store's address."""

    code = "store-unreachable"
    status = 503


class NodeError(AcceleratorError):
    """The node's answer is not usable."""

    code = "node"


class NodeUnreachableError(NodeError):
    """Nothing answers at the node's address."""

    code = "node-unreachable"


class AuthenticationError(NodeError):
    """The token is missing or wrong."""

    code = "authentication"
    status = 401


class PermissionDeniedError(NodeError):
    """The caller is known, but may not do this."""

    code = "permission"
    status = 403


class UsageQuotaError(NodeError):
    """The access key has used what it may use this month."""

    code = "usage-quota"
    status = 402


class NotFoundError(NodeError):
    """The node has no such resource."""

    code = "not-found"
    status = 404


class IntegrityError(NodeError):
    """Bytes changed on their way: their checksum is not the one they were sent with."""

    code = "integrity"
    status = 460  # tus has it, HTTP has not


class MachineEndingError(NodeError):
    """The node's machine is about to be taken away, and will not come back: nothing new is begun on it."""

    code = "machine-ending"
    status = 503


class NodeBusyError(NodeError):
    """The node cannot take more work now; ``retry_after_s`` says when to try again."""

    code = "busy"
    status = 503
    retry_after_s: float = 1.0


class DiskFullError(NodeBusyError):
    """The node's disk has no space for a file."""

    code = "disk-full"
    status = 507
    retry_after_s = 60.0


class QuotaError(NodeBusyError):
    """The client has as many jobs or uploads under way as it may."""

    code = "quota"
    status = 429
    retry_after_s = 5.0


class SpoolQuotaError(DiskFullError):
    """The client's share of the node's disk has no space for a file.

    Attributes:
        needed_bytes: by the request; ``None`` when the error comes from a peer.
        free_bytes: of the share; the same.
    """

    code = "spool-quota"

    def __init__(self, message: str, *, needed_bytes: int | None = None, free_bytes: int | None = None) -> None:
        super().__init__(message)
        self.needed_bytes, self.free_bytes = needed_bytes, free_bytes


class JobError(AcceleratorError):
    """A job ended without a result."""

    code = "job"


class FunctionFailedError(JobError):
    """The function reported a failure."""

    code = "function-failed"
    status = 422


class WorkerCrashedError(JobError):
    """The process that ran the function died."""

    code = "worker-crashed"


class JobCancelledError(JobError):
    """The job was cancelled."""

    code = "cancelled"
    status = 409


def _tree(root: type[AcceleratorError]) -> Iterable[type[AcceleratorError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def error_from_code(code: str, message: str) -> AcceleratorError:
    """The error a peer reported, as the class it was raised with (``AcceleratorError`` for an unknown code)."""
    for kind in _tree(AcceleratorError):
        if kind.code == code:
            return kind(message)
    return AcceleratorError(message)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message that names the known value nearest to ``name``, or lists them all."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.6)
    if close:
        match = next(n for n in names if n.lower() == close[0])
        return f"did you mean {match!r}?"
    return f"known: {', '.join(names)}" if names else "none is known"
