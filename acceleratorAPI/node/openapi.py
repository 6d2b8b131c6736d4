"""What the framework cannot derive for ``/openapi.json``: request bodies, errors, files."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from acceleratorAPI.node.problems import MEDIA_TYPE
from acceleratorAPI.node.scopes import OPEN, need_of
from acceleratorAPI.protocol import batch
from acceleratorAPI.protocol.records import Problem

# Of an idempotency key.
KEY_PATTERN = "^[!-~]([ -~]{0,198}[!-~])?$"
_REFERENCE = "#/components/schemas/"
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": f"{_REFERENCE}Problem"}}}
_WHEN = {
    400: "The request is malformed, or the function does not accept it.",
    402: "The access key has used what it may this month (a node with --store).",
    403: "The token does not allow this; or the path (--files-under) or the URL (--urls) is not one the node may use.",
    404: "No such record, page or function.",
    408: "The request stopped arriving.",
    409: "No configuration is active, or the one named was stopped.",
    413: "A text field or a body without a file is too long.",
    415: "The body has a type that is not read here.",
    416: "No byte of the range exists.",
    422: "The idempotency key was used for another request, or the function reports a failure.",
    429: "The token has as many jobs or uploads under way as it may; see Retry-After.",
    460: "The body's checksum is not the one it was sent with.",
    503: "The queue is full or the node is ending; see Retry-After.",
    507: "The node's disk, or the token's share of it, has no space for the file.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented error answers of a route; any other error has the same shape."""
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": _WHEN[status], "content": _PROBLEM} for status in statuses
    }
    found[401] = {"description": "The token is missing, wrong, expired or revoked.", "content": _PROBLEM}
    found[403] = {"description": _WHEN[403], "content": _PROBLEM}
    found["default"] = {"description": "Any other error.", "content": _PROBLEM}
    return found


_PARAMETERS = {
    "type": "string",
    "contentMediaType": "application/json",
    "description": 'JSON text `{"env": {"accelerator": "NAME"}, "app": {"specific": {...}}}`;'
    " the function's parameters are in `app.specific` or beside it.",
}
_PARAMETERS_OBJECT = {"anyOf": [_PARAMETERS, {"type": "object", "additionalProperties": True}, {"type": "null"}]}
_TEXT_FIELDS: dict[str, Any] = {
    "configuration": {
        "type": "string",
        "description": "The `url`, or the id, of a configuration. Absent: the active one.",
    },
    "source": {
        "type": "string",
        "description": "Instead of `datafile`: absolute path or file:// URL of a file on the node's machine, or of a"
        " folder if the function takes one (--files-under); or an https, s3 or gs URL that the node reads (--urls).",
    },
    "folder": {
        "type": "string",
        "enum": ["0", "1"],
        "description": "`1`: `datafile` is the tar file (ustar or pax) of a folder, for a function that takes one.",
    },
    "target": {
        "type": "string",
        "description": "Write the output there instead of keeping it: absolute path or file:// URL (--files-under),"
        " or an https (one PUT), s3 or gs URL (--urls).",
    },
}


def _body(file: str, fields: dict[str, Any]) -> dict[str, Any]:
    datafile = {"type": "string", "contentMediaType": "application/octet-stream", "description": file}
    multipart = {"type": "object", "properties": {"parameters": _PARAMETERS, **fields, "datafile": datafile}}
    form = {"type": "object", "properties": {"parameters": _PARAMETERS, **fields}}
    # In JSON, null is as absent.
    nullable = {name: {"anyOf": [field, {"type": "null"}]} for name, field in fields.items()}
    plain = {"type": "object", "properties": {"parameters": _PARAMETERS_OBJECT, **nullable}}
    return {
        "requestBody": {
            "required": False,
            "content": {
                "multipart/form-data": {"schema": multipart},
                "application/x-www-form-urlencoded": {"schema": form},
                "application/json": {"schema": plain},
            },
        }
    }


CONFIGURATION_BODY = _body("The function's configuration file, when it takes one.", {})
PROCESS_BODY = _body("The input file, of any size.", _TEXT_FIELDS)

STOP_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All configurations are dropped.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["app", "inerror"],
                    "properties": {
                        "app": {"$ref": f"{_REFERENCE}App"},
                        "inerror": {"type": "boolean"},
                        "errorcode": {"type": ["string", "null"]},
                    },
                }
            }
        },
    },
    **errors(),
}

_BINARY = {"application/octet-stream": {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}}
DOWNLOAD_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": _BINARY},
    206: {"description": "The byte range asked for.", "content": _BINARY},
    **errors(400, 404, 416),
}

_RECORD = {"application/json": {"schema": {"$ref": f"{_REFERENCE}JobRecord"}}}
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Where the job is, or its output (303)."}}


def _parameter(place: str, name: str, kind: str, description: str, **more: Any) -> dict[str, Any]:
    return {"in": place, "name": name, "description": description, "required": False, "schema": {"type": kind, **more}}


_INLINE_PARAMETERS = [
    _parameter("query", "configuration", "string", "Url or id of a configuration; absent: the active one."),
    _parameter("query", "wait", "number", "Seconds to wait for the end.", minimum=0, maximum=60, default=60),
    _parameter("header", "Job-Parameters", "string", "Of the function: a JSON object, in ASCII.", pattern="^[ -~]*$"),
    _parameter(
        "header", "Idempotency-Key", "string", "A repeated request finds the first's jobs.", pattern=KEY_PATTERN
    ),
    _parameter("header", "Content-Digest", "string", "Of the body: crc32c, sha-256, sha-512."),
]
RUN_REQUEST = {
    "requestBody": {"required": False, "content": _BINARY},
    "parameters": [
        *_INLINE_PARAMETERS,
        _parameter("query", "name", "string", "The user's name of the input."),
        _parameter("query", "folder", "boolean", "The input is the tar of a folder."),
    ],
}
RUN_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The output; or, of a job that gives none, its record.",
        "content": {**_BINARY, **_RECORD},
        "headers": {
            **_LOCATION,
            "Job-Record": {"schema": {"type": "string"}, "description": "The job's record as JSON, up to 8 KiB."},
            "Repr-Digest": {"schema": {"type": "string"}, "description": "The output's CRC32C."},
        },
    },
    303: {
        "description": "The output is large, or not there yet: see Location.",
        "content": _RECORD,
        "headers": _LOCATION,
    },
    **errors(400, 402, 403, 404, 408, 409, 413, 422, 429, 460, 503, 507),
}

_INPUTS = {
    "type": "object",
    "required": ["datafile"],
    "properties": {
        "datafile": {
            "type": "array",
            "minItems": 1,
            "maxItems": batch.MOST_JOBS,
            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
            "description": f"One part an input, each with a filename, of at most {batch.INPUT_BYTES} bytes.",
        }
    },
}
BATCH_REQUEST = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _INPUTS}}},
    "parameters": _INLINE_PARAMETERS,
}
BATCH_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A part for each input, in order: what `/v2/run` would answer, its status in `Status`.",
        "content": {"multipart/mixed": {"schema": {"type": "string"}}},
    },
    **errors(400, 402, 403, 404, 408, 409, 413, 415, 422, 429, 460, 503, 507),
}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of ``app``, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        components = schema.setdefault("components", {})
        problem = Problem.model_json_schema(ref_template=_REFERENCE + "{model}")
        definitions = problem.pop("$defs", {})
        components.setdefault("schemas", {}).update({**definitions, "Problem": problem})
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "basic": {"type": "http", "scheme": "basic", "description": "Any user; the token is the password."},
        }
        schema["security"] = [{"bearer": []}, {"basic": []}]
        for path, item in schema["paths"].items():
            for method, operation in item.items():
                if need_of(method.upper(), path.replace("{id}", "1")) == OPEN:
                    operation["security"] = []
        app.openapi_schema = schema
    return app.openapi_schema
