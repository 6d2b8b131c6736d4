"""Charts of usage: SVG by pygal, made here, so that a page needs no script to show one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from acceleratorAPI.store.usage import By, Span, Sum

# What a bar can say: its title, and how it is got from a row.
MEASURES: dict[str, tuple[str, Callable[[Sum], float]]] = {
    "jobs": ("Jobs", lambda row: row.jobs),
    "bytes": ("GB in and out", lambda row: (row.bytes_in + row.bytes_out) / 1e9),
    "cost": ("Cost", lambda row: row.cost_nano / 1e9),
}
_MOST_BARS = 30
# So many labels have room beside each other.
_MOST_LEVEL = 5


def bars(rows: Sequence[Sum], span: Span, by: By, measure: str, *, dark: bool) -> bytes:
    """A bar a row; by day, also one for each day without usage. SVG without a script."""
    # Half a second to import, and only these pages need it.
    import pygal
    from pygal.style import Style

    # pygal leaves a hook of an old kind, which Python warns of at every later import of anything.
    sys.meta_path[:] = [each for each in sys.meta_path if hasattr(each, "find_spec")]

    title, value = MEASURES[measure]
    if measure == "cost":
        title = f"{title} in {settings.STORE_CURRENCY}"
    ink, paper, lines = ("#f2f3f5", "#14161a", "#4a4f59") if dark else ("#1f2229", "#ffffff", "#c9ccd3")
    style = Style(
        background=paper, plot_background=paper, foreground=ink, foreground_strong=ink, foreground_subtle=lines,
        colors=("#7aa7ff" if dark else "#2456c4",), font_family="sans-serif", opacity="1", opacity_hover="1",
        guide_stroke_color=lines, major_guide_stroke_color=lines,
        guide_stroke_dasharray="", major_guide_stroke_dasharray="",
        label_font_size=11, major_label_font_size=11, title_font_size=14,
    )  # fmt: skip
    chart = pygal.Bar(
        style=style, title=title, show_legend=False, js=[], height=320, width=960, explicit_size=False,
        x_label_rotation=40 if by == "day" or len(rows) > _MOST_LEVEL else 0,
        no_data_text="Nothing was used in these days", disable_xml_declaration=True,
        truncate_label=24, min_scale=2, order_min=0 if measure == "jobs" else None,
        range=None, show_minor_x_labels=False,
    )  # fmt: skip
    values: list[tuple[str, float]]
    if by == "day":
        known = {row.key: value(row) for row in rows}
        values = [(str(day), known.get(str(day), 0)) for day in span.days]
    else:
        values = [(row.name, value(row)) for row in rows[:_MOST_BARS]]
    chart.x_labels = [label for label, _ in values]
    every = max(1, len(values) // 15)
    chart.x_labels_major = [label for label, _ in values[::every]]
    if rows:
        chart.add(title, [number for _, number in values])
    return str(chart.render(is_unicode=True)).encode()


def summary(rows: Sequence[Sum], measure: str, by: By) -> str:
    """The chart in one sentence, for those who do not see it."""
    if not rows:
        return "Nothing was used in these days."
    title, value = MEASURES[measure]
    most = max(rows, key=value)
    return f"{title} by {by}: {sum(map(value, rows)):g} in all, most for {most.name} with {value(most):g}."
