"""Calls of the AWS API as they arrive: service, operation, parameters; and errors in each service's own words."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

_SCOPE = re.compile(r"Credential=([^/,\s]+)/\d{8}/([\w-]+)/([\w-]+)/aws4_request")
_NAMES = {"monitoring": "cloudwatch"}
_S3 = {
    ("GET", 0): "ListBuckets", ("PUT", 1): "CreateBucket", ("DELETE", 1): "DeleteBucket", ("HEAD", 1): "HeadBucket",
    ("GET", 1): "ListObjectsV2", ("PUT", 2): "PutObject", ("GET", 2): "GetObject", ("HEAD", 2): "HeadObject",
    ("DELETE", 2): "DeleteObject", ("POST", 1): "DeleteObjects",
}  # fmt: skip
_S3_PARTS = {
    "policy": "BucketPolicy", "publicAccessBlock": "PublicAccessBlock", "tagging": "Tagging", "acl": "Acl",
    "lifecycle": "BucketLifecycleConfiguration", "encryption": "BucketEncryption", "location": "BucketLocation",
}  # fmt: skip
# As far as a caller's clock may be off.
_SKEW_S = 900.0
_STATUS = {
    "InsufficientInstanceCapacity": 500, "InternalError": 500, "InternalFailure": 500, "Unavailable": 503,
    "ServiceUnavailable": 503, "RequestLimitExceeded": 503, "EC2ThrottledException": 503, "Throttling": 400,
    "UnauthorizedOperation": 403, "AccessDenied": 403, "AccessDeniedException": 403, "AuthFailure": 401,
    "OptInRequired": 401, "ExpiredToken": 403, "ExpiredTokenException": 400, "InvalidClientTokenId": 403,
    "SignatureDoesNotMatch": 403, "SlowDown": 503, "NoSuchKey": 404, "NoSuchBucket": 404, "Blocked": 403,
    "RequestExpired": 400, "InsufficientHostCapacity": 500, "InsufficientCapacity": 500, "UnfulfillableCapacity": 500,
    "RequestTimeTooSkewed": 403,
}  # fmt: skip


@dataclass(slots=True)
class Call:
    """One call, and what became of it.

    Attributes:
        number: counted from 1 since the cloud was made or reset.
        parameters: as they are on the wire (``Filter.1.Name``), or the fields of a JSON body.
        status: of the answer; 0 while there is none, or when it was lost.
        error: the code of the answer.
        signed_at_s: when its caller signed it, by the caller's clock; 0 when it does not say.
        fault: what was planned and struck here.
        zone: of RunInstances: where it would go.
    """

    number: int
    service: str
    operation: str
    region: str
    parameters: dict[str, Any]
    access_key: str = ""
    at_s: float = field(default_factory=time.time)
    signed_at_s: float = 0.0
    status: int = 0
    error: str = ""
    fault: str = ""
    zone: str = ""

    @property
    def name(self) -> str:
        """As IAM policies name the action: ``ec2:RunInstances``."""
        return f"{self.service}:{self.operation}"

    def text(self) -> str:
        """Parameters and zone as lines ``Name=value``, for patterns of faults."""
        return "\n".join(f"{key}={value}" for key, value in (*self.parameters.items(), ("Zone", self.zone)))

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/xml"),)


def read(number: int, environment: Mapping[str, Any], body: bytes) -> Call:
    """The call that this WSGI environment and body are."""
    query = dict(urllib.parse.parse_qsl(environment.get("QUERY_STRING", ""), keep_blank_values=True))
    signed = environment.get("HTTP_AUTHORIZATION", "") or f"Credential={query.get('X-Amz-Credential', '')}"
    scope = _SCOPE.search(signed)
    key, region, service = (scope[1], scope[2], scope[3]) if scope else ("", "", "")
    target = environment.get("HTTP_X_AMZ_TARGET", "")
    parameters: dict[str, Any]
    if target:
        operation = target.rpartition(".")[2]
        try:
            loaded = json.loads(body or b"{}")
        except ValueError:
            loaded = {}
        parameters = loaded if isinstance(loaded, dict) else {}
    elif service == "s3":
        operation, parameters = _s3(environment["REQUEST_METHOD"], environment["PATH_INFO"], query)
    else:
        form = dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        parameters = {**query, **form}
        operation = str(parameters.pop("Action", environment["REQUEST_METHOD"]))
        parameters.pop("Version", None)
    signed_at_s = _time(environment.get("HTTP_X_AMZ_DATE", ""))
    return Call(number, _NAMES.get(service, service), operation, region, parameters, key, signed_at_s=signed_at_s)


def _time(text: str) -> float:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%S%z").timestamp()
    except ValueError:
        return 0.0


def clock_is_wrong(call: Call) -> Answer | None:
    """The answer to a caller whose clock is too far off."""
    if not call.signed_at_s or abs(call.at_s - call.signed_at_s) <= _SKEW_S:
        return None
    if call.service == "ec2":
        return error(call, "RequestExpired", "Request has expired.")
    if call.service == "s3":
        text = "The difference between the request time and the current time is too large."
        return error(call, "RequestTimeTooSkewed", text)
    when = "Signature expired" if call.signed_at_s < call.at_s else "Signature not yet current"
    return error(call, "SignatureDoesNotMatch", when)


def _s3(method: str, path: str, query: dict[str, str]) -> tuple[str, dict[str, Any]]:
    bucket, _, key = path.lstrip("/").partition("/")
    parameters = {"Bucket": bucket, "Key": key} | {k: v for k, v in query.items() if not k.startswith("X-Amz-")}
    part = next((name for name in _S3_PARTS if name in query), None)
    if part:
        verb = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}.get(method, method)
        return verb + ("Object" if key and part in ("tagging", "acl") else "") + _S3_PARTS[part], parameters
    return _S3.get((method, bool(bucket) + bool(key)), method), parameters


def error(call: Call, code: str, message: str, status: int = 0) -> Answer:
    """An error, in the form the call's service has."""
    status = status or _STATUS.get(code, 400)
    if call.service in ("ssm", "pricing", "servicequotas", "logs", "secretsmanager"):
        body = json.dumps({"__type": code, "message": message}).encode()
        return Answer(status, body, (("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-ErrorType", code)))
    told = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if call.service == "ec2":
        text = (
            f"<Response><Errors><Error>{told}</Error></Errors><RequestID>emulated-{call.number}</RequestID></Response>"
        )
    elif call.service == "s3":
        text = f"<Error>{told}<RequestId>emulated-{call.number}</RequestId></Error>"
    else:
        text = f"<ErrorResponse><Error><Type>Sender</Type>{told}</Error></ErrorResponse>"
    return Answer(status, b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode())


def error_code(answer: Answer) -> str:
    """The code of an error that moto answered."""
    if answer.status < 400:
        return ""
    found = re.search(rb"<Code>([^<]+)</Code>", answer.body) or re.search(rb'"__type":\s*"([^"]+)"', answer.body)
    return found[1].decode().rpartition("#")[2] if found else str(answer.status)
