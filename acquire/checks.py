"""Check a rig, role by role, without an animal under it: small moves, one frame, dark at the end."""

from __future__ import annotations

from collections.abc import Iterator

from acquire.errors import RigError
from acquire.model import Finding, Light, StackPlan
from acquire.rig import Rig

MOVE_UM = 5.0


def check_devices(rig: Rig) -> Iterator[str]:
    """Exercise every role; yield a line a role.

    Raises
    ------
    RigError
        At the first role that does not do what it should.
    """
    roles, limits = rig.config.roles, rig.config.limits
    start = rig.position()
    if refusal := limits.why_not(start):
        raise RigError(f"the stage stands outside its limits: {refusal}")
    step_x = MOVE_UM if start.x_um + MOVE_UM <= limits.x_um[1] else -MOVE_UM
    step_z = MOVE_UM if start.z_um + MOVE_UM <= limits.z_um[1] else -MOVE_UM
    if roles.xy_stage:
        rig.move_to(start.moved(x_um=step_x))
        rig.move_to(start)
        yield f"xy_stage {roles.xy_stage}: moved {MOVE_UM:g} um and back, stands at {rig.position()}"
    rig.move_z(start.z_um + step_z)
    rig.move_z(start.z_um)
    yield f"z_drive {roles.z_drive}: moved {MOVE_UM:g} um and back"
    plan = rig.set_scan(StackPlan(power_mw=0.0))
    frame = rig.snap()
    size = f"{frame.shape[0]} x {frame.shape[1]} pixels of {plan.voxel_um[1]:.3f} um"
    yield f"scanner {roles.scanner}: {size}, {frame.dtype}"
    for name, role in rig.config.channels.items():
        rig.set_scan(StackPlan(power_mw=0.0, channels=(name,)))
        rig.snap()
        yield f"channel {name}: {role}"
    if roles.power:
        rig.dim()
        yield f"power {roles.power}: {rig.power_mw():g} mW set and read back, limit {limits.power_mw:g} mW"
    if roles.pmt_gain:
        yield f"pmt_gain {roles.pmt_gain}: reads {rig.property_value(roles.pmt_gain):g}"
    if roles.surface_camera:
        picture = rig.snap_surface()
        yield f"surface_camera {roles.surface_camera}: {picture.shape[0]} x {picture.shape[1]} pixels"
    rig.close_light()
    if rig.config.watchdog:
        rig.check_guards()
        yield "watchdog: answers"
    if roles.shutter:
        yield f"shutter {roles.shutter}: closed"


def findings_of(rig: Rig) -> tuple[Finding, ...]:
    """Exercise every role; say what works, what this rig lacks, and what ended the check: a line each."""
    lines = []
    try:
        for line in check_devices(rig):
            lines.append(Finding(Light.GREEN, line))
    except RigError as error:
        lines.append(Finding(Light.RED, f"{error}; what comes after it was not checked"))
    lines += [Finding(Light.AMBER, line) for line in (*rig.config.missing(), *rig.alarms)]
    return tuple(lines)
