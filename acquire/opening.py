"""How a rig is opened: locked for this program, its devices loaded, its roles checked, watched over, dark.

Whatever was begun is undone when a later step fails, and when the rig is closed or the program ends.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import os
import secrets
import time
from typing import Any

from pymmcore_plus import DeviceType

from acquire.config import PropertyRole, RigConfig
from acquire.core import ChannelCore
from acquire.errors import RigError, asking
from acquire.lock import rig_lock
from acquire.rig import Rig
from acquire.watchdog import Watchdog, WatchdogError

GRACE_AT_EXIT_S = 0.3
SIGNALS = ("PYMM_SIGNALS_BACKEND", "psygnal")
"""Events of the core come at once; under Qt they would queue up in the thread of the window."""


def _load_python_devices(core: ChannelCore, config: RigConfig) -> object:
    module_name, _, function_name = (config.load or "").partition(":")
    try:
        load: Any = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise RigError(f"load = {config.load!r} cannot be imported: {error}") from error
    with asking(f"loading {config.load}"):
        return load(core, **config.load_settings)


DEVICE_TYPES = {
    "scanner": DeviceType.Camera,
    "surface_camera": DeviceType.Camera,
    "xy_stage": DeviceType.XYStage,
    "z_drive": DeviceType.Stage,
    "shutter": DeviceType.Shutter,
}


def _check_roles(core: ChannelCore, config: RigConfig) -> None:
    """Refuse roles that name a device or property which is not there."""
    loaded = set(core.getLoadedDevices())
    faults = []
    for role, player in config.roles:
        if player is None:
            continue
        device = player.device if isinstance(player, PropertyRole) else player
        if device not in loaded:
            faults.append(f"roles.{role} names {device!r}, which is not loaded")
        elif role in DEVICE_TYPES and core.getDeviceType(device) != DEVICE_TYPES[role]:
            kind = DEVICE_TYPES[role].name
            faults.append(f"roles.{role} names {device!r}, which is no {kind} but a {core.getDeviceType(device).name}")
        elif isinstance(player, PropertyRole) and not core.hasProperty(device, player.property):
            faults.append(f"roles.{role} names {player}, but {device} has no such property")
    if faults:
        raise RigError(f"{'; '.join(faults)}; loaded are: {', '.join(sorted(loaded - {'Core'}))}")


def _check_channels(core: ChannelCore, config: RigConfig) -> None:
    """Refuse channels that name an image or a preset which the devices do not have."""
    if not config.channels:
        return
    with asking(f"asking {config.roles.scanner} for its channels"):
        core.setCameraDevice(config.roles.scanner)
        images = core.getNumberOfCameraChannels()
        named = [f"{number} ({core.getCameraChannelName(number)})" for number in range(images)] if images > 1 else ["0"]
        presets = {str(group): core.getAvailableConfigs(group) for group in core.getAvailableConfigGroups()}
    faults = []
    for name, role in config.channels.items():
        if role.camera_channel >= images:
            has = f"{config.roles.scanner} has {', '.join(named)}"
            faults.append(f"channels.{name} is camera channel {role.camera_channel}, but {has}")
        if role.group is None:
            continue
        if role.group not in presets:
            faults.append(f"channels.{name} names the group {role.group!r}; there are: {', '.join(presets) or 'none'}")
        elif role.preset not in presets[role.group]:
            has = ", ".join(presets[role.group])
            faults.append(f"channels.{name} names the preset {role.preset!r}; {role.group} has: {has}")
    if faults:
        raise RigError(f"{'; '.join(faults)}; mend [channels] in the config of rig {config.name}")


def _unload(core: ChannelCore) -> None:
    with asking("unloading the devices"):
        core.unloadAllDevices()


def _load_devices(core: ChannelCore, config: RigConfig) -> object:
    loaded = None
    if config.mm_config is not None:
        try:
            core.loadSystemConfiguration(config.mm_config)
        except (RuntimeError, OSError, ValueError) as error:
            text = " ".join(str(error).split())
            raise RigError(f"mm_config {config.mm_config!r} cannot be loaded: {text}") from error
    if config.load is not None:
        loaded = _load_python_devices(core, config)
    _check_roles(core, config)
    _check_channels(core, config)
    core.setAutoShutter(False)
    with asking(f"setting the time-out to {config.timeout_s} s"):
        core.setTimeoutMs(round(config.timeout_s * 1000))
    return loaded


def _lock(config: RigConfig, undo: contextlib.ExitStack) -> str | None:
    """Lock the rig for this program; return who died while using it, None when all ended properly."""
    lock = rig_lock(config.lock or config.name)
    lock.take()
    undo.callback(lock.release)
    return lock.left_by


def _start_watchdog(config: RigConfig) -> Watchdog | None:
    plan = config.watchdog
    if plan is None:
        return None
    try:
        return Watchdog(plan.close, plan.settings, plan.timeout_s)
    except WatchdogError as error:
        raise RigError(f"{error}; check [watchdog] in the config of rig {config.name}") from error


@functools.cache
def _end_with_grace() -> None:
    """Give MMCore's callback thread time to finish: it can meet the end of the interpreter and abort it."""
    # Registered once and before any rig: what is registered first runs last.
    atexit.register(time.sleep, GRACE_AT_EXIT_S)


def open_rig(config: RigConfig) -> Rig:
    """Load the devices of a rig config, dark.

    Raises
    ------
    RigError
        When another program has the rig, something cannot be loaded, or a role names a device that is not there.
    """
    _end_with_grace()
    os.environ.setdefault(*SIGNALS)
    undo = contextlib.ExitStack()
    try:
        return _opened(config.for_opening(f"{os.getpid()}-{secrets.token_hex(4)}"), undo)
    except BaseException:
        undo.close()
        raise


def _opened(config: RigConfig, undo: contextlib.ExitStack) -> Rig:
    """Open a rig; whatever was begun when this raises stands in ``undo``."""
    predecessor = _lock(config, undo) if config.exclusive else None
    core = ChannelCore()
    undo.callback(_unload, core)
    loaded = _load_devices(core, config)
    rig = Rig(core, config, loaded, _start_watchdog(config), undo)
    rig.close_light()
    if predecessor is not None:
        rig.alarms.append(f"the last program on this rig did not end properly: {predecessor}; check the laser")
    # The last resort, when nobody closed the rig.
    atexit.register(rig.close)
    undo.callback(atexit.unregister, rig.close)
    return rig
