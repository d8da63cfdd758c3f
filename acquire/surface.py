"""Maps of the brain's surface: one camera image, a mosaic of several, a photograph, or a wide stack of the scanner.

A map is an image whose stage position is known; it is kept with the session. A rig without a surface camera looks at
its dendrites from afar instead: a stack of the scanner's whole field, which is registered in depth as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from acquire.aligning import photograph_on_image, refuse_beyond
from acquire.config import Limits, RigConfig
from acquire.engine import take_stack
from acquire.errors import RelocationError, RigError
from acquire.images import StackWriter, write_image
from acquire.landmarks import SURFACE_FILE, LandmarkList, landmarks_found
from acquire.meter import LightBudget
from acquire.model import SessionRecord, StackPlan, StagePosition
from acquire.relocate import ImageOnStage
from acquire.rig import Rig
from acquire.store import Study
from acquire.taking import StackTaker
from analysis.model import Floats, Transform, Verdict
from analysis.mosaic import lay_mosaic
from analysis.stack import read_image
from analysis.vessels import SurfaceRegistration, find_landmarks, register_surface

WIDE, CAMERA = "wide", "camera"
SESSION_ITSELF = ""  # the folder in which stores of no field lie
TILE_STEP = 0.8  # of an image: neighbours share a fifth
# Registered to itself re-mounted by 200 um each way, tilted by 2 and turned by 5 degrees, such a stack of the
# simulated cortex is off by 2 um at most.
WIDE_PIXEL_UM, WIDE_DEPTH_UM, WIDE_STEP_UM = 2.0, 80.0, 5.0
LARGEST_GREY = float(np.iinfo(np.uint16).max)

Tiles = tuple[int, int]
XY = tuple[float, float]


@dataclass(frozen=True, eq=False)
class PhotographedMap:
    """A photograph that was kept as the map.

    Parameters
    ----------
    middle
        Stage position of its middle.
    pixel_um
        Its pixel size as the stage measures, um.
    landmarks
        Its clearest branch points, in its frame.
    registration
        How the camera's image lies in it as it came; None when landmarks told.
    """

    middle: StagePosition
    pixel_um: float
    landmarks: LandmarkList
    registration: SurfaceRegistration | None


class SurfaceMapper:
    """Makes the maps of one session.

    Parameters
    ----------
    study, record
        The opened study and the session.
    rig
        The opened rig.
    taker
        Says of what making an image is.
    progress
        Called with what is being done and its share done (0 to 1).
    """

    def __init__(
        self, study: Study, record: SessionRecord, rig: Rig, taker: StackTaker, progress: Callable[[str, float], None]
    ) -> None:
        self._study, self._record, self._rig, self._taker, self._progress = study, record, rig, taker, progress

    # ---- camera ------------------------------------------------------------------------------------------------

    def keep_image(self, tiles: Tiles) -> StagePosition:
        """Keep one camera image, or a mosaic around where the stage stands; return the stage position of its middle.

        Raises
        ------
        RigError
            When a tile lies beyond the limits; nothing has been moved then.
        """
        store = self._folder() / SURFACE_FILE
        # It may be there already, when the disk was full as the session's record was to say so.
        if not store.exists():
            stage = self._rig.position()
            image = self._rig.snap_surface() if tiles == (1, 1) else self._mosaic(tiles, stage)
            write_image(store, image, self._pixel_um(), self._taker.provenance("surface", stage))
        return StagePosition.model_validate(read_image(store).provenance["stage"])

    def _mosaic(self, tiles: Tiles, middle: StagePosition) -> NDArray[np.uint16]:
        if self._rig.config.roles.xy_stage is None:
            raise RigError(f"rig {self._rig.config.name} has no xy stage; a map of {tiles[0]} x {tiles[1]} needs one")
        on_stage = self._image_on_stage(middle, self._rig.snap_surface().shape)
        centre_um = on_stage.image_from_stage((middle.x_um, middle.y_um))
        places = [on_stage.stage_at(centre_um + each_um) for each_um in tile_offsets_um(tiles, on_stage)]
        refusals = [refusal for place in places if (refusal := self._rig.why_not(place))]
        if refusals:
            raise RigError(
                f"{len(refusals)} of the {len(places)} images of a map of {tiles[0]} x {tiles[1]} lie beyond the "
                f"limits: {refusals[0]}; ask for fewer tiles"
            )
        try:
            images, told_um = self._tiles(places, on_stage)
        finally:
            self._rig.move_to(middle)
        mosaic = lay_mosaic(images, told_um / self._pixel_um())
        off_um = np.linalg.norm(mosaic.places_px * self._pixel_um() - told_um, axis=1)
        unlaid = [number for number, is_registered in enumerate(mosaic.is_registered) if not is_registered]
        self._log("mosaic", tiles=tiles, not_registered=unlaid, moved_um=[round(float(v), 1) for v in off_um])
        return mosaic.pixels

    def _tiles(self, places: list[StagePosition], on_stage: ImageOnStage) -> tuple[list[NDArray[np.uint16]], Floats]:
        """Return the images, and where each was taken from the middle of the map (y, x), um, as the stage read."""
        images, told = [], []
        for number, place in enumerate(places):
            self._rig.move_to(place)
            here = self._rig.position()
            images.append(self._rig.snap_surface())
            told.append(on_stage.offset_um(here))
            self._progress(f"surface, image {number + 1} of {len(places)}", (number + 1) / len(places))
        return images, np.array(told)

    # ---- photograph --------------------------------------------------------------------------------------------

    def keep_photograph(self, file: Path, pixel_um: float, today_xy_um: Mapping[str, XY]) -> PhotographedMap:
        """Keep a photograph as the map, turned as the camera would show it.

        Parameters
        ----------
        file
            PNG or TIFF from another microscope.
        pixel_um
            Its pixel size, um.
        today_xy_um
            Stage positions (x, y) of landmarks of the photograph, um; none registers the camera's image to it.

        Raises
        ------
        RelocationError
            When the camera's image is not found in the photograph, or there is neither camera nor landmark.
        """
        photograph, points_yx_um = read_photograph(file, pixel_um)
        marks = self._marks(points_yx_um)
        stage = self._rig.position()
        registration = None
        if today_xy_um:
            on_stage = self._image_on_stage(stage, (1, 1))
            turned = placed_by_landmarks(marks, today_xy_um, on_stage, self._rig.config.limits)
        else:
            on_stage, registration = self._find_in_photograph(photograph, pixel_um, stage, marks)
            turned = registration.map_from_today.inverse()
        pixels, first_um, shown_um = turned_as(photograph, pixel_um, turned)
        middle = on_stage.stage_at(first_um + (np.array(pixels.shape) - 1) / 2 * shown_um)
        write_image(self._folder() / SURFACE_FILE, pixels, shown_um, self._taker.provenance("surface", middle))
        self._log("photograph", file=str(file), pixel_um=pixel_um, stage=middle.model_dump())
        carried = np.array([turned.apply(place) - first_um for place in marks.on_map().values()])
        return PhotographedMap(middle, shown_um, self._marks(carried.reshape(-1, 2)), registration)

    def _marks(self, points_yx_um: Floats) -> LandmarkList:
        return landmarks_found(self._record.animal, self._record.name, points_yx_um)

    def _find_in_photograph(
        self, photograph: NDArray[np.float32], pixel_um: float, stage: StagePosition, marks: LandmarkList
    ) -> tuple[ImageOnStage, SurfaceRegistration]:
        """Take the camera's image and register it to the photograph; it is kept beside the map."""
        _refuse_without_camera(self._rig.config, marks)
        image = self._rig.snap_surface()
        kept = self._study.new_store(self._record, SESSION_ITSELF, CAMERA)
        write_image(kept, image, self._pixel_um(), self._taker.provenance(CAMERA, stage))
        found = register_surface(
            photograph, image, map_pixel_um=pixel_um, today_pixel_um=self._pixel_um(), landmarks=marks.on_map()
        )
        if found.verdict is not Verdict.FOUND:
            raise RelocationError(
                f"the camera's image is {found.verdict} in the photograph (score {found.score:.2f}): turn the "
                "photograph so that it looks like the camera's image to within 20 deg and is not mirrored, check "
                f"--pixel-um to 5 %, and centre the window; or {_ask_for_landmarks(marks)}"
            )
        return self._image_on_stage(stage, image.shape), found

    # ---- scanner -----------------------------------------------------------------------------------------------

    def wide_plan(self, overview: StackPlan) -> StackPlan | None:
        """Return how the scanner's whole field is taken; None when its field is no wider than an overview."""
        field_um = self._rig.config.scan.field_um_at_zoom_1
        if field_um is None or field_um <= overview.field_of_view_um:
            return None
        changes = {
            "field_of_view_um": field_um,
            "pixels": round(field_um / WIDE_PIXEL_UM),
            "depth_um": WIDE_DEPTH_UM,
            "step_um": WIDE_STEP_UM,
            "frames_per_plane": 1,
            "keep_frames": False,
            "region_um": None,
        }
        return overview.model_copy(update=changes)

    def keep_wide(self, plan: StackPlan, position: StagePosition) -> Path:
        """Take a wide stack with its middle at a position, into the session's folder."""
        plan = self._rig.set_scan(self._taker.limited(plan))
        if refusal := self._rig.why_not(position, plan):
            raise RigError(f"wide stack refused: {refusal}")
        path = self._study.new_store(self._record, SESSION_ITSELF, WIDE)
        light = LightBudget(lambda: self._rig.lit)
        with StackWriter(path, plan, self._taker.provenance(WIDE, position, plan=plan)) as writer:
            take_stack(self._rig, plan, position, [writer], progress=self._wide_progress, budget=light)
        self._log("wide stack", store=path.name, stage=position.model_dump(), dose_mj=round(light.spent_mj, 3))
        return path

    # ---- how ---------------------------------------------------------------------------------------------------

    def _wide_progress(self, done: int, planes: int) -> None:
        self._progress("wide stack", done / planes)

    def _image_on_stage(self, stage: StagePosition, shape: tuple[int, ...]) -> ImageOnStage:
        pixel_um = self._rig.config.surface_pixel_um or 1.0
        return ImageOnStage(stage, pixel_um, (shape[0], shape[1]), self._rig.config.orientation)

    def _pixel_um(self) -> float:
        pixel_um = self._rig.config.surface_pixel_um
        assert pixel_um is not None, "a rig with a surface camera has surface_pixel_um"
        return pixel_um

    def _folder(self) -> Path:
        return self._study.session_folder(self._record.animal, self._record.name)

    def _log(self, event: str, **details: object) -> None:
        self._study.log(self._record, event, **details)


def tile_offsets_um(tiles: Tiles, image: ImageOnStage) -> Floats:
    """Return where the middles of tiles lie from that of their mosaic (y, x), um; each row the other way round."""
    rows, columns = tiles
    step_um = TILE_STEP * np.array(image.shape) * image.pixel_um
    grid = [(r, c if r % 2 == 0 else columns - 1 - c) for r in range(rows) for c in range(columns)]
    offsets: Floats = (np.array(grid) - (np.array(tiles) - 1) / 2) * step_um
    return offsets


def read_photograph(file: Path, pixel_um: float) -> tuple[NDArray[np.float32], Floats]:
    """Return a photograph, shape (y, x), and its clearest branch points, shape (n, 2), um."""
    photograph = np.asarray(read_image(file, pixel_um=pixel_um).pixels, dtype=np.float32)
    return photograph, find_landmarks(photograph, pixel_um)


def check_photograph(
    animal: str, config: RigConfig, file: Path, pixel_um: float, today_xy_um: Mapping[str, XY]
) -> None:
    """Raise what can be known against a photograph before a session is begun for it."""
    _, points_yx_um = read_photograph(file, pixel_um)
    marks = landmarks_found(animal, SESSION_ITSELF, points_yx_um)
    if today_xy_um:
        anywhere = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)
        on_stage = ImageOnStage(anywhere, 1.0, (1, 1), config.orientation)
        placed_by_landmarks(marks, today_xy_um, on_stage, config.limits)
    else:
        _refuse_without_camera(config, marks)


def placed_by_landmarks(
    marks: LandmarkList, today_xy_um: Mapping[str, XY], on_stage: ImageOnStage, limits: Limits
) -> Transform:
    """Return the map from a photograph to an image on the stage, by the stage positions of its landmarks."""
    refuse_beyond(limits, today_xy_um)
    known_yx_um = {name: mark.map_yx_um for name in today_xy_um if (mark := marks.named(name)).map_yx_um}
    seen_yx_um = {name: on_stage.image_from_stage(xy_um) for name, xy_um in today_xy_um.items()}
    return photograph_on_image(known_yx_um, seen_yx_um)


def _refuse_without_camera(config: RigConfig, marks: LandmarkList) -> None:
    if config.roles.surface_camera is None:
        raise RelocationError(f"rig {config.name} has no surface camera; {_ask_for_landmarks(marks)}")


def turned_as(
    picture: NDArray[np.float32], pixel_um: float, image_from_picture: Transform
) -> tuple[NDArray[np.uint16], Floats, float]:
    """Return a picture as it lies in an image: its pixels, where the first lies there (y, x), and their size, um."""
    step_um = pixel_um * float(np.sqrt(abs(np.linalg.det(image_from_picture.matrix[:2, :2]))))
    last_um = (np.array(picture.shape) - 1) * pixel_um
    corners_um = image_from_picture.apply(np.array([[0, 0], [0, last_um[1]], [last_um[0], 0], last_um], dtype=float))
    first_um = corners_um.min(axis=0)
    shape = tuple(int(n) for n in np.ceil((corners_um.max(axis=0) - first_um) / step_um) + 1)
    inverse = image_from_picture.inverse()
    grey = picture * np.float32(LARGEST_GREY / max(float(picture.max()), 1e-6))
    turned = ndimage.affine_transform(
        grey, inverse.matrix[:2, :2] * step_um / pixel_um, inverse.apply(first_um) / pixel_um, shape, order=1
    )
    return np.clip(np.rint(turned), 0, LARGEST_GREY).astype(np.uint16), first_um, step_um


def _ask_for_landmarks(marks: LandmarkList) -> str:
    told = ", ".join(
        f"{m.name} at y {m.map_yx_um[0]:.0f}, x {m.map_yx_um[1]:.0f} um" for m in marks.landmarks if m.map_yx_um
    )
    return (
        "centre two landmarks of the photograph under the objective and give their stage positions with --landmark "
        f"NAME X Y (found in it: {told or 'none'})"
    )
