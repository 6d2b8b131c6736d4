"""Figures as people read them."""

from __future__ import annotations

from django import template
from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@register.filter
def size(count: int) -> str:
    """Bytes with a unit; 1 kB is 1000 bytes."""
    value, place = float(count), 0
    while value >= 999.95 and place < len(_UNITS) - 1:
        value, place = value / 1000, place + 1
    return f"{value:.0f} {_UNITS[0]}" if place == 0 else f"{value:.1f} {_UNITS[place]}"


@register.filter
def money(nano: int) -> str:
    """An amount with its currency; small ones are not rounded to nothing."""
    whole, _, part = f"{nano / 1e9:.{2 if nano == 0 or nano >= 10**7 else 6}f}".partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')} {settings.STORE_CURRENCY}"


@register.filter
def literal(value: object) -> str:
    """As Python writes it."""
    return repr(value)


@register.filter
def seconds(micros: int) -> str:
    """Microseconds as seconds."""
    return f"{micros / 1e6:.3f} s"


@register.filter
def moment(value: object) -> SafeString | str:
    """A time for people, in UTC, and for machines."""
    if value is None:
        return "never"
    return format_html('<time datetime="{}">{}</time>', value.isoformat(), f"{value:%Y-%m-%d %H:%M} UTC")  # type: ignore[attr-defined]
