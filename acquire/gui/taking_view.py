"""What the Take page says of a field: its plan, its stack, what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acquire.gui.status import FieldStatus
from acquire.gui.words import MARKS

if TYPE_CHECKING:
    from acquire.model import QualityItem


def tell_field(field: FieldStatus) -> str:
    """Return the line of a field in a list: its name first."""
    where = "kept today" if field.is_new else str(field.verdict or "not looked for")
    stack = (
        "stack cut short" if field.is_cut_short else f"stack {MARKS[field.quality]}" if field.quality else "no stack"
    )
    return f"{field.name}  {MARKS[field.verdict]} {where}, {stack}"


def tell_plan(field: FieldStatus) -> str:
    """Return how the field's stacks are taken."""
    plan = field.plan
    if plan is None:
        return ""
    last_mw = plan.plane_power_mw(plan.planes - 1)
    power = f"{plan.power_mw:.1f} to {last_mw:.1f} mW"
    limit = "" if plan.dose_limit_mj is None else f", at most {plan.dose_limit_mj:.0f} mJ a day"
    return (
        f"{plan.planes} planes of {plan.pixels} x {plan.pixels}, {plan.field_of_view_um:.0f} um wide, "
        f"{plan.step_um:g} um apart, {plan.frames_per_plane} frames each; {power}{limit}"
    )


def tell_quality(field: FieldStatus) -> str:
    """Return what was judged of the field's last stack in this session, and what to do."""
    from acquire.quality import name_planes

    if field.is_cut_short:
        return "The last stack was cut short: go on with it, its planes are kept."
    if field.quality is None:
        return field.advice or "No stack in this session yet."
    bad = f"\nBad planes: {name_planes(field.bad_planes)}" if field.bad_planes else ""
    items = "\n".join(_tell_item(item) for item in field.items)
    return f"{MARKS[field.quality]} {field.quality}: {field.advice}{bad}\n\n{items}"


def _tell_item(item: QualityItem) -> str:
    advice = f": {item.advice}" if item.advice else ""
    return f"{MARKS[item.light]} {item.name} {item.value:.3g} {item.unit}{advice}"
