"""Values of the analysis as bytes and back: arrays, numbers, words, and the dataclasses of this package made of them.

Nothing is run when bytes are read. The same value always gives the same fingerprint, on every machine.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGE = "analysis."
_LENGTH_BYTES = 8
Arrays = dict[str, NDArray[Any]]


def fingerprint(*values: object) -> str:
    """Return 40 hex digits that stand for some values: other values, other digits.

    Raises
    ------
    TypeError
        A value is neither number, word, array, bytes, nor a collection or dataclass of such.
    """
    digest = blake2b(digest_size=20)
    for part in values:
        arrays: Arrays = {}
        digest.update(json.dumps(_taken_apart(part, arrays), sort_keys=True).encode())
        for array in arrays.values():
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def pack(value: object) -> bytes:
    """Return a value as bytes: how long its structure is, the structure, and one array after the other.

    Raises
    ------
    TypeError
        As of :func:`fingerprint`.
    """
    arrays: Arrays = {}
    taken = _taken_apart(value, arrays)
    kinds = [(array.dtype.str, array.shape, _order(array)) for array in arrays.values()]
    structure = json.dumps([taken, kinds]).encode()
    contents = [array.tobytes("A") for array in arrays.values()]
    return b"".join([len(structure).to_bytes(_LENGTH_BYTES, "little"), structure, *contents])


def unpack(packed: bytes) -> Any:
    """Return the value that :func:`pack` made bytes of."""
    first = _LENGTH_BYTES + int.from_bytes(packed[:_LENGTH_BYTES], "little")
    taken, kinds = json.loads(packed[_LENGTH_BYTES:first])
    arrays: Arrays = {}
    for number, (dtype, shape, order) in enumerate(kinds):
        array = np.frombuffer(packed, np.dtype(dtype), math.prod(shape), first).reshape(shape, order=order)
        arrays[f"a{number}"] = array.copy("A")  # of its own, to be written to
        first += array.nbytes
    return _put_together(taken, arrays)


def _order(array: NDArray[Any]) -> str:
    """Return in which order the values lie: sums over them then come out the same to the last bit."""
    return "F" if array.flags.fnc else "C"


def _taken_apart(value: object, arrays: Arrays) -> Any:
    """Return a value as JSON knows it, in lists that begin with their kind; its arrays go into ``arrays``."""
    if isinstance(value, Enum):
        return ["enum", _name(type(value)), value.name]
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bytes) or (isinstance(value, np.ndarray) and not value.dtype.hasobject):
        arrays[f"a{len(arrays)}"] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
        return ["bytes" if isinstance(value, bytes) else "array", f"a{len(arrays) - 1}"]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(_taken_apart(item, arrays) for item in value)]
    if isinstance(value, Mapping):
        return ["dict", *([_taken_apart(key, arrays), _taken_apart(item, arrays)] for key, item in value.items())]
    if is_dataclass(value) and not isinstance(value, type) and type(value).__module__.startswith(PACKAGE):
        parts = [_taken_apart(getattr(value, field.name), arrays) for field in fields(value)]
        return ["dataclass", _name(type(value)), *parts]
    raise TypeError(f"a {type(value).__name__} cannot be packed; give numbers, words, arrays or dataclasses of them")


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__name__}"


def _kind(name: str) -> Any:
    """Return a class of this package by its name; its module is loaded, as its function is to be called."""
    module, _, kind = name.partition(":")
    return getattr(sys.modules[module], kind)


def _put_together(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if not isinstance(value, list):
        return value
    kind, *parts = value
    if kind in ("array", "bytes"):
        return arrays[parts[0]].tobytes() if kind == "bytes" else arrays[parts[0]]
    if kind == "enum":
        return _kind(parts[0])[parts[1]]
    if kind == "dict":
        return {_put_together(key, arrays): _put_together(item, arrays) for key, item in parts}
    if kind == "dataclass":
        return _kind(parts[0])(*(_put_together(part, arrays) for part in parts[1:]))
    items = [_put_together(item, arrays) for item in parts]
    return tuple(items) if kind == "tuple" else items
