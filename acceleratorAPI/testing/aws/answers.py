"""Answers to calls that moto lacks or answers with a sample: console output, public parameters, quotas, prices."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from acceleratorAPI.testing.aws import calls, images, moto_cloud
from acceleratorAPI.testing.aws.calls import Answer, Call
from acceleratorAPI.testing.aws.fleet import Fleet

if TYPE_CHECKING:
    from acceleratorAPI.testing.aws.rules import Settings

_CONSOLE_BYTES = 64 << 10
# Running On-Demand Standard and F instances, and all standard and F Spot requests.
_QUOTAS = {"L-1216C47A": "standard", "L-74FC7D96": "F", "L-34B43A08": "spot", "L-88CF9481": "spot"}


def answer(call: Call, fleet: Fleet, settings: Settings) -> Answer | None:
    """The answer, when the call is one of these."""
    known: dict[str, Callable[[], Answer | None]] = {
        "ec2:GetConsoleOutput": lambda: _console(call, fleet),
        "ec2:DescribeFpgaImages": lambda: _fpga_images(call, settings.fpga_images),
        "ssm:GetParameter": lambda: _parameter(call),
        "ssm:GetParameters": lambda: _parameters(call),
        "pricing:GetProducts": lambda: _products(call),
        "servicequotas:GetServiceQuota": lambda: _quota(call, settings.vcpu_limits),
    }
    found = known.get(call.name)
    return found() if found else None


def _json(value: Any) -> Answer:
    return Answer(200, json.dumps(value).encode(), (("Content-Type", "application/x-amz-json-1.1"),))


def _console(call: Call, fleet: Fleet) -> Answer | None:
    kept = fleet.kept.get(str(call.parameters.get("InstanceId")))
    if kept is None:
        return None
    text = base64.b64encode(kept.machine.console[-_CONSOLE_BYTES:] if kept.machine else b"").decode()
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    told = f"<instanceId>{kept.instance.id}</instanceId><timestamp>{now}</timestamp><output>{text}</output>"
    return _xml(call, "GetConsoleOutput", told)


def _fpga_images(call: Call, known: Sequence[str]) -> Answer:
    """Those of the known ones that the call asks for by ``fpga-image-global-id``, or all."""
    filters = [k.removesuffix("Name") for k, v in call.parameters.items() if v == "fpga-image-global-id"]
    asked = [str(v) for k, v in call.parameters.items() if filters and k.startswith(f"{filters[0]}Value")]
    items = "".join(
        f"<item><fpgaImageId>{image.replace('agfi', 'afi')}</fpgaImageId><fpgaImageGlobalId>{image}</fpgaImageGlobalId>"
        "<name>emulated</name><state><code>available</code></state></item>"
        for image in known
        if not asked or image in asked
    )
    return _xml(call, "DescribeFpgaImages", f"<fpgaImageSet>{items}</fpgaImageSet>")


def _xml(call: Call, operation: str, inner: str) -> Answer:
    space = "http://ec2.amazonaws.com/doc/2016-11-15/"
    inner = f"<requestId>emulated-{call.number}</requestId>{inner}"
    return Answer(200, f'<{operation}Response xmlns="{space}">{inner}</{operation}Response>'.encode())


def _record(name: str, value: str, region: str) -> dict[str, Any]:
    return {"Name": name, "Value": value, "Type": "String", "DataType": "aws:ec2:image", "Version": 1,
            "ARN": f"arn:aws:ssm:{region}::parameter{name}"}  # fmt: skip


def _parameter(call: Call) -> Answer | None:
    name = str(call.parameters.get("Name", ""))
    value = images.parameters().get(name)
    return _json({"Parameter": _record(name, value, call.region)}) if value else None


def _parameters(call: Call) -> Answer | None:
    known, names = images.parameters(), list(call.parameters.get("Names", []))
    if not any(name in known for name in names):
        return None
    found = [_record(name, known[name], call.region) for name in names if name in known]
    return _json({"Parameters": found, "InvalidParameters": [name for name in names if name not in known]})


def _products(call: Call) -> Answer:
    told = {f.get("Field"): f.get("Value") for f in call.parameters.get("Filters", [])}
    kind = str(told.get("instanceType", ""))
    count = moto_cloud.vcpus(kind)
    if not count:
        return _json({"FormatVersion": "aws_v1", "PriceList": []})
    price = {"unit": "Hrs", "description": "made up", "pricePerUnit": {"USD": f"{images.price_usd(kind, count):.10f}"}}
    product = {
        "product": {"productFamily": "Compute Instance", "attributes": {"instanceType": kind, **told}},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {"emulated.JRTCKXETXF": {"priceDimensions": {"emulated.6YS6EN2CT7": price}}}},
    }
    return _json({"FormatVersion": "aws_v1", "PriceList": [json.dumps(product)]})


def _quota(call: Call, limits: Mapping[str, int]) -> Answer:
    code = str(call.parameters.get("QuotaCode"))
    bucket = _QUOTAS.get(code)
    if bucket is None:
        return calls.error(
            call, "NoSuchResourceException", "The request failed because the specified quota does not exist."
        )
    return _json(
        {"Quota": {"ServiceCode": "ec2", "QuotaCode": code, "QuotaName": bucket, "Value": float(limits[bucket])}}
    )
