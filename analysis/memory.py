"""What was computed of the stacks of a field, kept so that a new session costs its own work and no more.

Every question asked of a stack's pixels is a function without side effects; its answer is kept in a file named by all
that it depends on: the contents of the stacks, the other inputs, and this package. So an answer is never out of date,
and what is remembered cannot be told from what is computed. Nothing is known here of what is asked.
"""

from __future__ import annotations

import platform
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from threading import Lock, get_ident
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from numpy.typing import NDArray

from analysis.model import Stack
from analysis.packing import fingerprint, pack, unpack
from analysis.recording import files_of, find_description
from analysis.remote import RemotePath
from analysis.stack import read_stack, reading

HELD_BYTES = 800_000_000  # of pixels at a time: one stack of 1024 x 1024 x 70 voxels has 75 to 150 MB
KIND = b"samefield memory 2\n"
SUFFIX = ".memory"
MEMORY_FOLDER = "cache"
"""Name of the folder beside the tables of a field."""
LIBRARIES = ("numpy", "scipy", "scikit-image")
_CHUNK_BYTES = 1 << 22

P = ParamSpec("P")
T = TypeVar("T")


class Memory:
    """Answers in a folder. On a clean way out of its ``with`` block those that were not asked for are removed.

    A damaged, foreign or missing file is computed again; a folder that cannot be written is told of in ``trouble``.

    Parameters
    ----------
    folder
        Where the answers are kept; it is made when there is one to keep, and may be deleted at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked: set[Path] = set()
        self._held: OrderedDict[str, Stack] = OrderedDict()
        self._reading = Lock()
        self.trouble: str | None = None

    def recall(self, name: str, inputs: str, compute: Callable[[], T]) -> T:
        """Return the kept answer, or compute and keep it.

        Parameters
        ----------
        name
            What is asked.
        inputs
            Fingerprint of all that the answer depends on.
        compute
            Gives the answer.
        """
        key = fingerprint(name, inputs, fingerprint_of_package())
        file = self._folder / f"{name.rpartition('.')[2].strip('_')}-{key}{SUFFIX}"
        self._asked.add(file)
        head = KIND + key.encode()
        if (packed := _read_whole(file, head)) is not None:
            answer: T = unpack(packed)
            return answer
        answer = compute()
        self._keep(file, head, pack(answer))
        return answer

    def hold(self, of: str, read: Callable[[], Stack]) -> Stack:
        """Return a stack with its pixels, read once as long as there is room for them."""
        with self._reading:
            stack = self._held.pop(of, None) or read()
            self._held[of] = stack
            while len(self._held) > 1 and sum(one.pixels.nbytes for one in self._held.values()) > HELD_BYTES:
                self._held.popitem(last=False)
        return stack

    def forget_unasked(self) -> None:
        """Remove what was not asked for: of stacks that are no longer compared, of an earlier version."""
        for file in self._folder.glob(f"*{SUFFIX}*"):
            if file not in self._asked:
                self._try(file.unlink)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.forget_unasked()

    def _keep(self, file: Path, head: bytes, packed: bytes) -> None:
        part = file.with_name(f"{file.name}.{get_ident()}.part")  # two threads may keep the same answer at once

        def write() -> None:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(head + _checksum(packed) + packed)
            part.replace(file)

        if self.trouble is None:
            self._try(write)
        if self.trouble is not None:
            self._try(lambda: part.unlink(missing_ok=True))

    def _try(self, change: Callable[[], object]) -> None:
        try:
            change()
        except OSError as error:
            self.trouble = (
                f"{self._folder} cannot be written: {error.strerror or error}; the next analysis of this field takes "
                "as long as its first. Free space or change the rights."
            )


class SavedStack(Stack):
    """A stack in a file, with a memory: its pixels are read only for an answer that is not known yet.

    Parameters
    ----------
    path
        File, or folder of an OME-Zarr image, or the URL of such a folder.
    memory
        Where answers are kept.
    voxel_um
        Voxel size (z, y, x), um; None takes what the file says.

    Raises
    ------
    StackError
        As of :func:`~analysis.stack.read_stack`.
    """

    source: Path | None
    fingerprint: str
    _path: Path | RemotePath
    _memory: Memory
    _given_um: tuple[float, float, float] | None
    _shape: tuple[int, ...]

    def __init__(
        self, path: Path | RemotePath, memory: Memory, voxel_um: tuple[float, float, float] | None = None
    ) -> None:
        of = fingerprint(fingerprint_of_file(path), voxel_um)
        source = path if isinstance(path, Path) else None
        self.__dict__.update(source=source, fingerprint=of, _path=path, _memory=memory, _given_um=voxel_um)
        said = memory.recall("said", of, lambda: _Said.of(self._held()))
        self.__dict__.update(
            name=path.name,
            voxel_um=said.voxel_um,
            saturation=said.saturation,
            provenance=said.provenance,
            channels=said.channels,
            _shape=said.shape,
        )

    @property
    def pixels(self) -> NDArray[Any]:
        """Intensities, shape (z, y, x)."""
        return self._held().pixels

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels (z, y, x)."""
        return self._shape

    def recall(self, function: Callable[Concatenate[Stack, P], T], *inputs: P.args, **options: P.kwargs) -> T:
        """Return ``function(self, *inputs, **options)``, computed once for all analyses that share the memory."""
        plain = [value.fingerprint if isinstance(value, SavedStack) else value for value in inputs]
        if any(isinstance(value, Stack) for value in plain):
            return function(self, *inputs, **options)  # with a stack that is in no file
        name = f"{function.__module__}.{function.__qualname__}"
        return self._memory.recall(
            name, fingerprint(self.fingerprint, plain, options), lambda: function(self, *inputs, **options)
        )

    def _held(self) -> Stack:
        return self._memory.hold(self.fingerprint, lambda: read_stack(self._path, voxel_um=self._given_um))


@dataclass(frozen=True, eq=False)
class _Said:
    """What is known of a stack beside its pixels."""

    shape: tuple[int, ...]
    voxel_um: tuple[float, float, float]
    saturation: float | None
    provenance: dict[str, Any]
    channels: int

    @classmethod
    def of(cls, stack: Stack) -> Self:
        return cls(stack.shape, stack.voxel_um, stack.saturation, stack.provenance, stack.channels)


def _read_whole(file: Path, head: bytes) -> bytes | None:
    """Return what is kept in a file, None when that is not whole or not what was asked for."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    checksum = content[len(head) : len(head) + len(_checksum(b""))]
    packed = content[len(head) + len(checksum) :]
    return packed if content.startswith(head) and checksum == _checksum(packed) else None


def _checksum(packed: bytes) -> bytes:
    return blake2b(packed, digest_size=16).digest()


def fingerprint_of_file(path: Path | RemotePath) -> str:
    """Return what stands for the contents of a file, of a recording or of all files of a folder, wherever it lies.

    A file alone or a folder may be called as it likes; in a recording the names count, that of its description first.
    """
    if isinstance(path, RemotePath):
        return path.fingerprint()
    digest = blake2b(digest_size=20)
    with reading(path):
        description = find_description(path)
        within = path if description is None else description.parent
        for file in files_of(path):
            digest.update(f"{file.relative_to(within).as_posix()}:{file.stat().st_size}:".encode())
            with file.open("rb") as content:
                while chunk := content.read(_CHUNK_BYTES):
                    digest.update(chunk)
    return digest.hexdigest()


@cache
def fingerprint_of_package() -> str:
    """Return what stands for this package, its weights, and the libraries that compute for it."""
    return fingerprint(_contents(), [version(name) for name in LIBRARIES], _network_runner(), platform.machine())


def _network_runner() -> str | None:
    """Return the version of what runs the network, under whatever name it was installed; None where nothing does."""
    try:
        import onnxruntime
    except ImportError:
        return None
    return str(onnxruntime.__version__)


@cache
def fingerprint_of_code() -> str:
    """Return what stands for this package and its weights, whatever computer they are on."""
    return fingerprint(_contents())


def _contents() -> list[tuple[str, str]]:
    folder = Path(__file__).parent
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    return [(file.relative_to(folder).as_posix(), blake2b(file.read_bytes()).hexdigest()) for file in files]
