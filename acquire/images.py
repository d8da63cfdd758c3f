"""Images on disk: OME-Zarr 0.5, plane by plane, with a synced journal beside each stack.

A plane counts when its line stands in the journal: pixels first, then the line with the checksum. A stack counts when
its attribute ``complete`` is true. Raw data is never rewritten: an existing name is refused.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import ValidationError
from yaozarrs import v05
from zarr.codecs import BloscCodec

from acquire.errors import StudyError, validation_summary
from acquire.files import append_line, check_space, sync_file, writing
from acquire.model import PlaneRecord, Record, StackPlan, StagePosition, TakenPlane, TransformRecord, utc_now

JOURNAL = ".planes.jsonl"
SHOWS_FIELD = "shows_field"
COLOURS = {"green": "00FF00", "red": "FF0000", "blue": "0000FF", "cyan": "00FFFF", "magenta": "FF00FF"}
# Fast enough to write a plane while the next is taken; shuffled bits make noise in the low ones cost little.
# A dark plane is written like any other: to search each for whether it is dark takes a third of the time of writing.
EVERY_CHUNK = {"array.write_empty_chunks": True}
COMPRESSOR = BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle", typesize=2)
# What zarr, blosc, json and pydantic raise at a file that is damaged: cut short, overwritten, or edited by hand.
DAMAGE = (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError)


def software_version() -> str:
    """Return the version of the program."""
    return f"samefield {importlib.metadata.version('samefield')}"


def checksum(pixels: NDArray[np.uint16]) -> int:
    """Return the CRC-32 of pixels as they lie in memory, row by row."""
    return zlib.crc32(np.ascontiguousarray(pixels).data)


class ImageProvenance(Record):
    """What an image says of its making; the attribute ``samefield`` of every store."""

    kind: str
    animal: str
    session: str
    day: float
    rig: dict[str, Any]
    stage: StagePosition
    field: str | None = None
    plan: StackPlan | None = None
    reference_from_today: TransformRecord | None = None
    saturation: float | None = None
    retake_of: str | None = None
    shows_field: bool | None = True


@dataclass(frozen=True)
class Channels:
    """The channels of an image on disk, and the counts at which their detectors are full.

    Parameters
    ----------
    names
        One a channel; none for an image without channels.
    full_scale
        Counts.
    """

    names: tuple[str, ...] = ()
    full_scale: float = float(np.iinfo(np.uint16).max)

    @classmethod
    def of(cls, plan: StackPlan, saturation: float | None) -> Channels:
        """Return those of a plan; an image of a single channel needs no axis for it."""
        return cls(plan.channels if len(plan.channels) > 1 else (), saturation or cls.full_scale)

    def shown(self) -> v05.Omero | None:
        """Say how a viewer may show them: in the colour of their name, else in one after another."""
        window = v05.OmeroWindow(min=0, max=self.full_scale, start=0, end=self.full_scale)
        inks = list(COLOURS.values())
        channels = [
            v05.OmeroChannel(
                label=name, color=COLOURS.get(name.lower(), inks[place % len(inks)]), window=window, active=True
            )
            for place, name in enumerate(self.names)
        ]
        return v05.Omero(channels=channels) if channels else None


def _ome(name: str, axes: str, voxel_um: tuple[float, ...], channels: Channels) -> dict[str, Any]:
    """Describe an image of the axes t, c, z, y, x or some of them; ``voxel_um`` is that of the spatial ones."""
    kinds: dict[str, Any] = {"t": v05.TimeAxis(name="t"), "c": v05.ChannelAxis(name="c")}
    described = [kinds.get(axis) or v05.SpaceAxis(name=axis, unit="micrometer") for axis in axes]
    scale = [*[1.0] * (len(axes) - len(voxel_um)), *voxel_um]
    level = v05.Dataset(path="0", coordinateTransformations=[v05.ScaleTransformation(scale=scale)])
    multiscale = v05.Multiscale(name=name, axes=described, datasets=[level])
    image = v05.Image(multiscales=[multiscale], omero=channels.shown())
    return image.model_dump(mode="json", exclude_none=True)


@contextmanager
def _reading(what: object) -> Iterator[None]:
    """Turn whatever a damaged file makes its readers raise into a StudyError."""
    try:
        yield
    except DAMAGE as error:
        said = validation_summary(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
        raise StudyError(f"{what} cannot be read ({' '.join(said.split())}); take a new stack") from error


@contextmanager
def _making(path: Path) -> Iterator[Path]:
    """Yield a hidden name to make a store under; it gets its own when the block ends well, else nothing is left."""
    if path.exists():
        raise StudyError(f"{path} exists and raw data is never rewritten; choose another name")
    part = path.with_name(f".{path.name}.making")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.rmtree(part, ignore_errors=True)
            yield part
            part.rename(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _make_image(
    path: Path,
    shape: tuple[int, ...],
    voxel_um: tuple[float, ...],
    attributes: dict[str, Any],
    channels: Channels,
    *,
    name: str,
    dtype: Any = "uint16",
) -> zarr.Array[Any]:
    """Make an image of shape (y, x), (z, y, x) or (t, z, y, x), with c before the space of several channels."""
    space = "zyx"[-len(voxel_um) :]
    rest = "tc" if channels.names else "t"
    names = list(rest[len(rest) + len(space) - len(shape) :] + space)
    described = _ome(name, "".join(names), voxel_um, channels)
    zarr.create_group(path, zarr_format=3, attributes={"ome": described, **attributes})
    chunks = (1,) * (len(shape) - 2) + shape[-2:]
    # Not through the group: that would write its file a second time, at once, and go on when this one cannot be.
    return zarr.create_array(
        path / "0", shape=shape, chunks=chunks, dtype=dtype, dimension_names=names, compressors=COMPRESSOR
    )


def journal_path(store: Path) -> Path:
    """Return the journal that stands beside a stack."""
    return store.with_name(store.name.removesuffix(".ome.zarr") + JOURNAL)


def frames_path(store: Path) -> Path:
    """Return the store of raw frames that stands beside a stack: ``frames.ome.zarr`` for ``stack.ome.zarr``."""
    kind, dash, number = store.name.removesuffix(".ome.zarr").partition("-")
    return store.with_name(f"{'frames' if kind == 'stack' else kind + '_frames'}{dash}{number}.ome.zarr")


def said_of_making(store: Path) -> dict[str, Any]:
    """Return what a store of ours says of its making; nothing when it is damaged, or no store of ours."""
    try:
        said = json.loads((store / "zarr.json").read_text(encoding="utf-8"))["attributes"]["samefield"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return said if isinstance(said, dict) else {}


def keeps_frames(plan: StackPlan) -> bool:
    """Tell whether the raw frames of a stack are kept beside it; one frame is its own mean."""
    return plan.keep_frames and plan.frames_per_plane > 1


def is_complete(store: Path) -> bool:
    """Tell whether a store of ours says that it is whole."""
    return bool(said_of_making(store).get("complete"))


def say_shows_field(store: Path, shows_field: bool | None) -> None:
    """Write into a whole stack whether it shows its field, None for not known yet; only one that does is compared."""
    with writing(store):
        group = zarr.open_group(store, mode="r+")
        group.attrs.update({"samefield": {**said_of_making(store), SHOWS_FIELD: shows_field}})


def is_judged(store: Path) -> bool:
    """Tell whether a store is whole, and it was looked whether it shows its field."""
    return is_complete(store) and said_of_making(store).get(SHOWS_FIELD, True) is not None


def is_comparable(store: Path) -> bool:
    """Tell whether a store is whole and shows its field."""
    return is_complete(store) and said_of_making(store).get(SHOWS_FIELD, True) is True


def read_journal(store: Path) -> list[PlaneRecord]:
    """Return the planes that were saved, in order; a line that was cut short is not one of them."""
    records = {record.plane: record for record in read_plane_lines(journal_path(store))}
    return [records[plane] for plane in sorted(records)]


def read_plane_lines(journal: Path) -> list[PlaneRecord]:
    """Return every whole line of a journal; none when there is no journal."""
    if not journal.is_file():
        return []
    records: list[PlaneRecord] = []
    with _reading(journal):
        lines = journal.read_bytes().splitlines()
    for line in lines:
        with suppress(ValidationError):  # cut short by a full disk or a power failure: others may follow
            records.append(PlaneRecord.model_validate_json(line))
    return records


def _chunk_path(store: Path, place: tuple[int, ...]) -> Path:
    return store.joinpath("0", "c", *(str(index) for index in place))


class StackWriter:
    """A stack that grows on disk plane by plane; a sink for the rig.

    Parameters
    ----------
    path
        Where the store is made; must not exist.
    plan
        Shape and voxel size of the stack.
    provenance
        What the stack says of its making.
    """

    def __init__(self, path: Path, plan: StackPlan, provenance: ImageProvenance) -> None:
        frames = plan.frames_per_plane if keeps_frames(plan) else 0
        check_space(path, 2 * int(np.prod(plan.stored_shape)) * (1 + frames))
        self.path = path
        self.records: list[PlaneRecord] = []
        self._provenance = provenance.model_copy(update={"plan": plan})
        self._begin_worker()
        about, channels = {"samefield": self._samefield(False)}, Channels.of(plan, provenance.saturation)
        with _making(path) as part:
            _make_image(part, plan.stored_shape, plan.voxel_um, about, channels, name=path.name)
            if frames:
                self._make_frames()
        self._open_stores()

    def _make_frames(self) -> None:
        """Make the store of raw frames, with room for those that replace others."""
        plan, path = self.plan, frames_path(self.path)
        shape = (plan.frames_per_plane + plan.replacement_frames, *plan.stored_shape)
        about, channels = self._of_frames(False), Channels.of(plan, self._provenance.saturation)
        with _making(path) as part:
            _make_image(part, shape, plan.voxel_um, {"samefield": about}, channels, name=path.name)

    @classmethod
    def reopen(cls, path: Path) -> StackWriter:
        """Go on with a stack that was cut short, from the planes that its journal says are saved.

        Where its store of raw frames was taken away, one is made anew for the planes that are missing.

        Raises
        ------
        StudyError
            When the store is damaged, its journal lacks planes that it has, or a saved plane does not have the checksum
            that the journal gives: taking them again would rewrite raw data.
        """
        writer = cls.__new__(cls)
        writer.path = path
        with _reading(path):
            writer._open_stores()
            about: Any = writer._group.attrs["samefield"]
            known = {name: about[name] for name in ImageProvenance.model_fields if name in about}
            writer._provenance = ImageProvenance.model_validate(known)
        shape, dtype = writer._array.shape, writer._array.dtype
        if shape != writer.plan.stored_shape or dtype != np.uint16:
            raise StudyError(f"{path} holds {dtype} pixels of the shape {shape}, not its plan's; take a new stack")
        writer.records = read_journal(path)
        unlisted = [plane for plane in writer.missing if writer._has_pixels(plane)]
        if unlisted and unlisted != [writer._in_hand()]:
            told = f"{len(unlisted)} planes that were saved (first {unlisted[0]})"
            raise StudyError(f"{journal_path(path)} lacks {told}; take a new stack")
        for record in writer.records:
            if checksum(writer._saved(record.plane)) != record.crc32:
                raise StudyError(f"plane {record.plane} of {path} is not what was saved; take a new stack")
        if writer.missing and writer._frames is None and keeps_frames(writer.plan):
            writer._make_frames()
            writer._open_stores()
        arrays = [array for array in (writer._array, writer._frames) if array is not None]
        check_space(path, sum(array.nbytes for array in arrays) * len(writer.missing) // writer.plan.planes)
        writer._begin_worker()
        return writer

    @classmethod
    def retaking(cls, path: Path, whole: StackWriter, planes: Sequence[int]) -> StackWriter:
        """Begin a stack with what another has saved but some planes, which are to be taken again.

        Raw frames are not copied: those of the other planes stay where they were taken.
        """
        provenance = whole._provenance.model_copy(update={"retake_of": whole.path.name, SHOWS_FIELD: None})
        writer = cls(path, whole.plan, provenance)
        for record in whole.records:
            if record.plane not in planes:
                copied = record.model_copy(update={"copied_from": record.copied_from or whole.path.name})
                writer._write(TakenPlane(whole._saved(record.plane), (), copied))
        return writer

    def _in_hand(self) -> int | None:
        """Return the plane that was being written when the stack was cut short: the only one without its line."""
        lines = read_plane_lines(journal_path(self.path))
        last = lines[-1].plane if lines else -1
        after = [plane for plane in self.missing if plane > last]
        if not after and self._provenance.retake_of is not None:  # copied planes come first
            after = self.missing
        return min(after, default=None)

    def _open_stores(self) -> None:
        frames, self._frames, self._frames_group = frames_path(self.path), None, None
        with zarr.config.set(EVERY_CHUNK):
            self._group = zarr.open_group(self.path, mode="r+")
            self._array = zarr.open_array(self.path / "0", mode="r+")
            if frames.exists():
                with _reading(frames):
                    self._frames = zarr.open_array(frames / "0", mode="r+")
                    self._frames_group = zarr.open_group(frames, mode="r+")

    def _begin_worker(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stack writer")
        self._pending: Future[None] | None = None

    def _place(self, plane: int) -> int | tuple[slice[Any, Any, Any], int]:
        """Return where a plane lies in the stack: behind its channels, all of them, when it has such an axis."""
        return plane if self._array.ndim == 3 else (slice(None), plane)

    @property
    def stage(self) -> StagePosition:
        """Stage position of the middle of the stack."""
        return self._provenance.stage

    @property
    def plan(self) -> StackPlan:
        """The plan that the stack was begun with, which the field's may differ from by now."""
        if self._provenance.plan is None:
            raise StudyError(f"{self.path} does not say how it was taken; take a new stack")
        return self._provenance.plan

    @property
    def missing(self) -> list[int]:
        """Planes that are not saved yet, nor being saved."""
        return sorted(set(range(self.plan.planes)) - {record.plane for record in self.records})

    def planes(self, wanted: Sequence[int]) -> NDArray[np.uint16]:
        """Return saved planes of the channel that shows the dendrites, shape (n, y, x)."""
        saved = [self._saved(plane) for plane in wanted]
        return np.stack([plane if plane.ndim == 2 else plane[0] for plane in saved])

    def _saved(self, plane: int) -> NDArray[np.uint16]:
        """Return a plane with all its channels, shape (y, x) or (c, y, x)."""
        with _reading(f"plane {plane} of {self.path}"):
            return np.asarray(self._array[self._place(plane)], dtype=np.uint16)

    def append(self, taken: TakenPlane) -> None:
        """Keep one plane: it is written while the next is taken. What went wrong with the one before raises here."""
        self._settle()
        self._pending = self._worker.submit(self._write, taken)

    def _write(self, taken: TakenPlane) -> None:
        """Write frames and mean, synced, then the line in the journal: from then on the plane counts as saved."""
        plane, shape = taken.record.plane, (*self._array.shape[:-3], *self._array.shape[-2:])
        if taken.pixels.shape != shape:
            raise StudyError(
                f"plane {plane} has the shape {taken.pixels.shape}, but those of {self.path} have {shape}: the plan's "
                "channels or region changed; take a new stack"
            )
        record = taken.record.model_copy(update={"crc32": checksum(taken.pixels)})
        self._refuse_gone()
        with writing(self.path):
            if self._frames is not None:
                for number, frame in enumerate(taken.frames[: self._frames.shape[0]]):
                    self._frames[number, ..., plane, :, :] = frame
            self._array[self._place(plane)] = taken.pixels
        self._sync(plane, len(taken.frames))
        append_line(journal_path(self.path), record.model_dump_json())
        self.records = [other for other in self.records if other.plane != plane] + [record]

    def _refuse_gone(self) -> None:
        # zarr would make its folders anew: on the disk beneath the one that was taken out.
        if not (self.path / "zarr.json").is_file():
            raise StudyError(
                f"{self.path} is gone after {len(self.records)} planes: was its disk taken out, or its folder moved? "
                "Bring it back and go on with the stack"
            )

    def _sync(self, plane: int, frames: int) -> None:
        """Have the chunks of a plane reach the disk: a pulled plug takes no plane that the journal holds."""
        for place in self._chunks(plane):
            sync_file(_chunk_path(self.path, place))
            for number in range(0 if self._frames is None else min(frames, self._frames.shape[0])):
                sync_file(_chunk_path(frames_path(self.path), (number, *place)))

    def _chunks(self, plane: int) -> list[tuple[int, ...]]:
        """Return where the chunks of a plane lie, one a channel."""
        rest = (plane, 0, 0)
        return [rest] if self._array.ndim == 3 else [(channel, *rest) for channel in range(self._array.shape[0])]

    def _has_pixels(self, plane: int) -> bool:
        return any(_chunk_path(self.path, place).exists() for place in self._chunks(plane))

    def _settle(self) -> None:
        """Wait for the plane that is being written; raise what went wrong with it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def finish(self) -> Path:
        """Say that the stack is whole; refuses when planes are missing."""
        self._settle()
        self._worker.shutdown()
        if missing := self.missing:
            raise StudyError(f"{self.path} lacks {len(missing)} of {self.plan.planes} planes (first {missing[0]})")
        self._update(complete=True)
        return self.path

    def abandon(self) -> None:
        """Leave the stack readable, marked incomplete, with the planes it has."""
        # On a full disk neither may succeed; the store has been marked incomplete from its beginning.
        with suppress(StudyError):
            self._settle()
        self._worker.shutdown()
        with suppress(StudyError):
            self._update(complete=False)

    def _samefield(self, complete: bool) -> dict[str, Any]:
        records = sorted(self.records, key=lambda record: record.plane)
        return {
            **self._provenance.model_dump(mode="json"),
            "software_version": software_version(),
            "written": utc_now().isoformat(),
            "complete": complete,
            "planes": [record.model_dump(mode="json") for record in records],
        }

    def _of_frames(self, complete: bool) -> dict[str, Any]:
        """Return what the raw frames say of their making; of the planes only those whose frames are there."""
        about, store = self._samefield(complete), frames_path(self.path)
        held = [
            plane for plane in about["planes"] if _chunk_path(store, (0, *self._chunks(plane["plane"])[0])).exists()
        ]
        return {**about, "kind": "frames", "of": self.path.name, "planes": held}

    def _update(self, *, complete: bool) -> None:
        self._refuse_gone()
        with writing(self.path):
            if self._frames_group is not None:
                self._frames_group.attrs.update({"samefield": self._of_frames(complete)})
            self._group.attrs.update({"samefield": self._samefield(complete)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None:
            self.abandon()
            return
        try:
            self.finish()
        except StudyError:
            self.abandon()
            raise


def write_image(path: Path, image: NDArray[np.uint16], pixel_um: float, provenance: ImageProvenance) -> Path:
    """Write a single image, shape (y, x), as OME-Zarr; it is there whole or not at all."""
    check_space(path, image.nbytes)
    attributes = {
        **provenance.model_dump(mode="json"),
        "software_version": software_version(),
        "written": utc_now().isoformat(),
    }
    with _making(path) as part:
        about = {"samefield": {**attributes, "complete": True}}  # it has its name only when its pixels are down
        array = _make_image(part, image.shape, (pixel_um, pixel_um), about, Channels(), name=path.name)
        array[:] = image
    return path


def write_foreign_stack(
    path: Path, pixels: NDArray[Any], voxel_um: tuple[float, float, float], about: dict[str, Any]
) -> Path:
    """Write a stack that another program took, shape (z, y, x) or (c, z, y, x), in the numbers of its file.

    ``about`` is what it says of its making. It is there whole or not at all.
    """
    check_space(path, pixels.nbytes)
    full_scale = float(about.get("saturation") or np.iinfo(np.uint16).max)
    names = tuple(f"channel {number}" for number in range(len(pixels))) if pixels.ndim == 4 else ()
    made = {"samefield": {**about, "software_version": software_version(), "written": utc_now().isoformat()}}
    with _making(path) as part:
        channels = Channels(names, full_scale)
        array = _make_image(part, pixels.shape, voxel_um, made, channels, name=path.name, dtype=pixels.dtype)
        array[:] = pixels
    return path
