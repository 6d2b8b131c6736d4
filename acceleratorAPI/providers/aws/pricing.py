"""What a machine costs per hour: from AWS's price list, else from the dated table of this package."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from acceleratorAPI.providers.aws.cloud import Cloud

# The price list answers in few regions, for all of them.
_API_REGION = "us-east-1"
_TABLE = "prices.json"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per hour, on demand, without disks and traffic; 0 when nobody knows. ``source`` is for a person."""

    usd_per_hour: float
    source: str

    def __str__(self) -> str:
        if not self.usd_per_hour:
            return "price unknown"
        return f"about ${self.usd_per_hour:.4g} per hour ({self.source})"


def price_of(cloud: Cloud, region: str, instance_type: str, *, spot: bool) -> Price:
    """The price of a kind of machine; never raises: a price is worth no failed launch."""
    try:
        if spot and (usd := _spot(cloud, region, instance_type)):
            return Price(usd, "spot now")
        if usd := _listed(cloud, region, instance_type):
            return Price(usd, "on demand")
    except (ClientError, BotoCoreError, KeyError, ValueError, TypeError):
        pass
    table = json.loads(files(__package__).joinpath(_TABLE).read_text(encoding="utf-8"))
    usd = float(table["usd_per_hour"].get(instance_type, 0))
    return Price(usd, f"on demand in {table['region']}, for orientation: not from AWS, written {table['date']}")


def _listed(cloud: Cloud, region: str, instance_type: str) -> float:
    wanted = {
        "instanceType": instance_type, "regionCode": region, "operatingSystem": "Linux", "preInstalledSw": "NA",
        "tenancy": "Shared", "capacitystatus": "Used",
    }  # fmt: skip
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
    client = cloud.client("pricing", _API_REGION, once=True)
    answer = client.get_products(ServiceCode="AmazonEC2", Filters=filters, MaxResults=1)
    product: dict[str, Any] = json.loads(answer["PriceList"][0]) if answer["PriceList"] else {}
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            return float(dimension["pricePerUnit"]["USD"])
    return 0.0


def _spot(cloud: Cloud, region: str, instance_type: str) -> float:
    # From now on: the price in force in each zone, and none of before.
    answer = cloud.ec2(region).describe_spot_price_history(
        InstanceTypes=[instance_type], ProductDescriptions=["Linux/UNIX"], StartTime=datetime.now(UTC), MaxResults=20
    )
    prices = [float(entry["SpotPrice"]) for entry in answer["SpotPriceHistory"]]
    return min(prices, default=0.0)
