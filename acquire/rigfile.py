"""Saving a calibrated rig config: what was measured is written into the file, and nothing else of it changes.

Comments, order and hand-made formatting stay (tomlkit). The new text is read back and checked before it replaces
anything, and the file as it was stays beside it, dated.
"""

from __future__ import annotations

import functools
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from acquire.config import RigConfig, read_rig_config
from acquire.errors import RigError, StudyError
from acquire.files import sync_file, write_text, writing
from acquire.model import utc_now

CALIBRATED = ("surface_pixel_um", "scan", "power", "limits", "orientation")
"""What calibration may change; all else of a file stays as a person wrote it."""
OWN = "{name} travels with the program and is never overwritten; save under a path of your own"


@functools.cache
def _own_folders() -> tuple[Path, Path]:
    """Return the folder of the program's own configs, as it was asked for and as it is behind links."""
    with resources.as_file(resources.files("configs")) as folder:
        return folder.absolute(), folder.resolve()


def travels_with_program(path: Path) -> bool:
    """Tell whether a config is one of the program's own, which are never overwritten."""
    return path.resolve().is_relative_to(_own_folders()[1])


def why_not_name(path: Path) -> str | None:
    """Say why a config cannot be saved under that name, without a look at the disk; None when it may be tried."""
    if any(path.absolute().is_relative_to(folder) for folder in _own_folders()):
        return OWN.format(name=path.name)
    if path.suffix != ".toml":
        return f"{path.name} does not end in .toml; a rig config is a TOML file"
    return None


def why_not_save(path: Path) -> str | None:
    """Say why a config cannot be saved there; None when it may be tried."""
    if refusal := why_not_name(path):
        return refusal
    if travels_with_program(path):  # by a link
        return OWN.format(name=path.name)
    return f"{path} is a folder; give the name of a file" if path.is_dir() else None


def save_rig_config(config: RigConfig, path: Path, *, template: Path | None = None) -> Path | None:
    """Write what calibration changed into a rig config file.

    Parameters
    ----------
    config
        The config as it shall be. Only its calibrated parts are written: pixel sizes, power, limits, orientation.
    path
        The file that is written.
    template
        The file whose text is taken over, comments and all; None takes ``path`` itself.

    Returns
    -------
    Path or None
        Where the file as it was stands now; None when there was none.

    Raises
    ------
    RigError
        When the path is refused, the template is no rig config, or what was written does not read back as ``config``.
    """
    if refusal := why_not_save(path):
        raise RigError(refusal)
    template = template or path
    old = read_rig_config(template)
    text = _changed_text(template, old, config)
    part = path.with_name(f".{path.stem}.checking.toml")
    try:
        write_text(part, text)
        _check(read_rig_config(part), old, config, path)
        kept = _keep(path)
        with writing(path):
            part.replace(path)
    except StudyError as error:  # a full or read-only disk: here it is the rig's file
        raise RigError(str(error)) from error
    finally:
        part.unlink(missing_ok=True)
    return kept


def _changed_text(template: Path, old: RigConfig, new: RigConfig) -> str:
    try:
        document = tomlkit.parse(template.read_bytes().decode("utf-8"))
    except (OSError, ValueError, TOMLKitError) as error:
        raise RigError(f"{template} cannot be read: {error}") from error
    for name in CALIBRATED:
        was, now = (config.model_dump(mode="json")[name] for config in (old, new))
        if now == was:
            continue
        if isinstance(now, dict):
            _change_table(document, name, was or {}, now)
        else:
            document[name] = now
    return tomlkit.dumps(document)


def _change_table(document: tomlkit.TOMLDocument, name: str, was: dict[str, Any], now: dict[str, Any]) -> None:
    """Change the entries of one table that differ; the others stay as they are written."""
    if name not in document:
        document.add(tomlkit.nl())
        document.add(name, tomlkit.table())
    table = document[name]
    if not isinstance(table, Table | dict):
        raise RigError(f"{name} is no table in the file; write it as [{name}]")
    for key, value in now.items():
        if value == was.get(key):
            continue
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value


def _check(written: RigConfig, old: RigConfig, new: RigConfig, path: Path) -> None:
    for name in RigConfig.model_fields:
        wanted = getattr(new if name in CALIBRATED else old, name)
        if getattr(written, name) != wanted:
            raise RigError(f"{path} was not saved: {name} reads back as {getattr(written, name)}, not as {wanted}")


def _keep(path: Path) -> Path | None:
    """Copy a file to a dated name beside it; None when there is no file."""
    if not path.exists():
        return None
    stamp, number = utc_now().strftime("%Y-%m-%dT%H%M%S"), 1
    kept = path.with_name(f"{path.name}.{stamp}.bak")
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.{stamp}-{number}.bak")
    with writing(kept):
        shutil.copy2(path, kept)
    sync_file(kept)
    return kept
