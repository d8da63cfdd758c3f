"""Load the simulated rig into a core: the entry point that a rig config names.

``load(core, ...)`` gives the core its devices; what it returns is for tests and the demo, which compare what the
program found with what is true. The program under test never sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymmcore_plus.experimental.unicore import Device, UniMMCore

from devices import truth
from devices.branches import TuftPlan
from devices.cortex import Cortex, CortexPlan, generate_cortex
from devices.detector import Detector
from devices.laser import SimulatedPMT, SimulatedPockels, SimulatedShutter
from devices.optics import Optics
from devices.pose import MountRanges, Pose, draw_pose
from devices.recorded import CENTRE_DEPTH_UM, Recording, read_recording
from devices.scanner import SimulatedScanner
from devices.scene import Motion, Scene
from devices.spines import SpinePlan
from devices.stage import SimulatedXYStage, SimulatedZDrive
from devices.triggered import TriggeredPockels, TriggeredZDrive
from devices.widefield import SimulatedSurfaceCamera

Place = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class SimulatedRig:
    """The hand that puts the head under the objective, and the one who knows the truth.

    Parameters
    ----------
    sample
        The generated cortex or the recorded stacks.
    seed
        Seed of the sample and of its mountings.
    ranges
        How differently the head is mounted from session to session.
    scene
        What the devices look at.
    """

    sample: Cortex | Recording
    seed: int
    ranges: MountRanges
    scene: Scene
    _days: dict[int, float] = field(default_factory=dict)

    @property
    def sample_days(self) -> tuple[float, ...] | None:
        """Days of the recorded stacks; None for a generated sample, which can be seen on any day."""
        return self.sample.days if isinstance(self.sample, Recording) else None

    def mount(self, session: int, day: float) -> None:
        """Put the head under the objective for ``session``, on ``day``.

        Parameters
        ----------
        session
            Number of the session, from 0: the same number is always mounted the same way.
        day
            Day of the session: spines come and go.
        """
        pose = self.pose(session)
        sample = self.sample
        if isinstance(sample, Recording):
            self.scene.mounted = sample.mount(pose, session, self.scene.yx_from_image)
        else:
            self.scene.mounted = sample.mount(pose, day)
        self.scene.begin(session)
        self._days[session] = day

    def pose(self, session: int) -> Pose:
        """Return how the head is mounted in ``session``."""
        return draw_pose(self.seed, session, self.ranges, (CENTRE_DEPTH_UM, 0.0, 0.0))

    def good_places(self, count: int) -> list[Place]:
        """Return stage positions (x, y, z), um, where a nice spiny dendrite is in focus as mounted now.

        Parameters
        ----------
        count
            How many places; they lie at least 120 um apart.

        Raises
        ------
        ValueError
            When the sample has fewer.
        """
        mounted = self.scene.mounted
        if mounted is None:
            raise ValueError("Nothing is under the objective. Mount a session first.")
        if isinstance(self.sample, Recording):
            if count > 1:
                raise ValueError(
                    f"A recorded sample has 1 place, its stacks' centre; {count} were asked for. Ask for 1."
                )
            tissue = np.array([[CENTRE_DEPTH_UM, 0.0, 0.0]])
        else:
            tissue = truth.choose_places(self.sample, count)
        return [(float(x), float(y), float(z)) for z, y, x in mounted.pose.to_stage(tissue)]

    def displacement_um(
        self,
        reference_session: int,
        reference_xyz_um: Sequence[float],
        today_session: int,
        today_xyz_um: Sequence[float],
        extent_zyx_um: Sequence[float],
    ) -> Place | None:
        """Return how far today's stack shows the tissue from where the reference stack shows it.

        Parameters
        ----------
        reference_session, today_session
            Sessions of the two stacks.
        reference_xyz_um, today_xyz_um
            Stage positions of the centres of the two stacks, um.
        extent_zyx_um
            Size of the field, um.

        Returns
        -------
        displacement
            Mean over the field of (place in today's stack) - (place in the reference stack), (z, y, x) in the axes of
            the stacks, um. None for recorded samples, where nobody knows.
        """
        if isinstance(self.sample, Recording):
            return None
        box = truth.grid_um(extent_zyx_um)
        reference = truth.StackFrame.at(reference_xyz_um, self.scene.image_orientation)
        today = truth.StackFrame.at(today_xyz_um, self.scene.image_orientation)
        tissue = self.pose(reference_session).to_tissue(reference.to_stage(box))
        seen = today.from_stage(self.pose(today_session).to_stage(tissue))
        dz, dy, dx = (seen - box).mean(axis=0)
        return float(dz), float(dy), float(dx)

    def true_spines(
        self, session: int, centre_xyz_um: Sequence[float], shape: Sequence[int], voxel_um: Sequence[float]
    ) -> pd.DataFrame:
        """Return the spines in a stack taken in ``session`` with its centre at a stage position.

        Parameters
        ----------
        session
            Session that has been mounted.
        centre_xyz_um
            Stage position of the middle of the stack, um.
        shape
            Shape of the stack (z, y, x).
        voxel_um
            Voxel size (z, y, x), um.

        Returns
        -------
        spines
            Columns of ``truth.SPINE_COLUMNS``, um from the centre of the first voxel; empty for recorded samples.
        """
        if isinstance(self.sample, Recording):
            return pd.DataFrame(columns=truth.SPINE_COLUMNS)
        frame = truth.StackFrame.at(centre_xyz_um, self.scene.image_orientation, shape, voxel_um)
        return truth.spines_in(self.sample, self.pose(session), self._day_of(session), frame)

    def true_dendrites(
        self, session: int, centre_xyz_um: Sequence[float], shape: Sequence[int], voxel_um: Sequence[float]
    ) -> pd.DataFrame:
        """Return the centrelines of the spiny dendrites in a stack: columns dendrite, z_um, y_um, x_um.

        The parameters are those of :meth:`true_spines`.
        """
        if isinstance(self.sample, Recording):
            return pd.DataFrame(columns=truth.DENDRITE_COLUMNS)
        frame = truth.StackFrame.at(centre_xyz_um, self.scene.image_orientation, shape, voxel_um)
        return truth.dendrites_in(self.sample, self.pose(session), frame)

    def _day_of(self, session: int) -> float:
        if session not in self._days:
            raise ValueError(f"Session {session} has not been mounted yet, so its day is not known. Mount it first.")
        return self._days[session]


def load(
    core: UniMMCore,
    *,
    sample: str = "cortex",
    seed: int = 0,
    image_orientation: Sequence[Sequence[float]] = ((-1.0, 0.0), (0.0, 1.0)),
    field_um_at_zoom_1: float = 600.0,
    surface_pixel_um: float = 2.0,
    surface_pixels: int = 1024,
    realtime: bool = False,
    hardware_timing: bool = False,
    shutter_file: str | None = None,
    repeatability_um: float = 0.05,
    pulsation_um: float = 0.15,
    drift_um: float = 0.3,
    half_width_um: float = 680.0,
    spines_gained_per_day: float = 0.018,
    spines_lost_per_day: float = 0.018,
    mount_shift_um: float = 200.0,
    mount_depth_um: float = 30.0,
    mount_yaw_deg: float = 5.0,
    mount_tilt_deg: float = 2.0,
    deformation_um: float = 1.0,
    clarity: tuple[float, float] = (0.7, 1.2),
) -> SimulatedRig:
    """Give ``core`` the devices Scanner, XY, Z, Shutter, Pockels, PMT and SurfaceCamera; mount session 0, day 0.

    Parameters
    ----------
    core
        Core without devices of these labels.
    sample
        ``"cortex"``, or the path of a folder of recorded stacks, one a session.
    seed
        Seed of the sample, of its mountings and of all noise.
    image_orientation
        Map of image offsets (right, down) to stage offsets (x, y), orthogonal.
    field_um_at_zoom_1
        Width of the scanner's image at zoom 1, um.
    surface_pixel_um, surface_pixels
        Pixel size, um, and number of pixels along a side of the surface camera.
    realtime
        Whether frames and moves take as long as on a rig.
    hardware_timing
        Whether the focus drive and the Pockels cell can step with the scanner's frames by themselves.
    shutter_file
        File through which another process can close the shutter: ``devices.shutterfile:close_shutter``. A plain name
        lies in the folder for temporary files.
    repeatability_um
        Standard deviation of where the stages stop, um.
    pulsation_um, drift_um
        Amplitude of the heartbeat's and of the slow movement of the tissue, um. Truth is given without either.
    half_width_um
        Half the width of the generated tissue, um.
    spines_gained_per_day, spines_lost_per_day
        Share of the spines that comes and goes within a day.
    mount_shift_um, mount_depth_um, mount_yaw_deg, mount_tilt_deg, deformation_um, clarity
        See :class:`devices.pose.MountRanges`. Recorded stacks bring their own deformation and clarity.

    Raises
    ------
    ValueError
        When a setting or the sample's folder cannot be used.
    """
    orientation = _checked_orientation(image_orientation)
    ranges = MountRanges(
        mount_shift_um, mount_depth_um, mount_yaw_deg, mount_tilt_deg, deformation_um, clarity=(clarity[0], clarity[1])
    )
    specimen: Cortex | Recording
    if sample == "cortex":
        spines = SpinePlan(gained_per_day=spines_gained_per_day, lost_per_day=spines_lost_per_day)
        specimen = generate_cortex(seed, CortexPlan(TuftPlan(half_width_um), spines))
    else:
        specimen = read_recording(Path(sample).expanduser())
        ranges = MountRanges(mount_shift_um, mount_depth_um, mount_yaw_deg, mount_tilt_deg, 0.0, clarity=(1.0, 1.0))
    optics, motion = Optics(), Motion(pulsation_um, drift_um)
    scene = Scene(
        optics,
        Detector(optics, seed),
        Detector(optics, seed, stream=8),
        motion,
        seed,
        orientation,
        realtime,
        shutter_file,
    )
    rig = SimulatedRig(specimen, seed, ranges, scene)
    rig.mount(0, 0.0)
    drive = TriggeredZDrive if hardware_timing else SimulatedZDrive
    cell = TriggeredPockels if hardware_timing else SimulatedPockels
    _load_devices(
        core,
        {
            "Scanner": SimulatedScanner(scene, field_um_at_zoom_1),
            "XY": SimulatedXYStage(scene, repeatability_um, seed),
            "Z": drive(scene, repeatability_um, seed),
            "Shutter": SimulatedShutter(scene),
            "Pockels": cell(scene, voltage=0.4),
            "PMT": SimulatedPMT(scene),
            "SurfaceCamera": SimulatedSurfaceCamera(scene, surface_pixel_um, surface_pixels, seed),
        },
    )
    return rig


def _checked_orientation(image_orientation: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    matrix = np.asarray(image_orientation, dtype=float)
    if matrix.shape != (2, 2) or not np.allclose(matrix @ matrix.T, np.eye(2), atol=1e-3):
        raise ValueError(
            f"image_orientation {matrix.tolist()} does not keep lengths. Give a 2 x 2 rotation or mirror, such as "
            "[[-1, 0], [0, 1]]."
        )
    return matrix


def _load_devices(core: UniMMCore, devices: dict[str, Device]) -> None:
    for label, device in devices.items():
        core.loadPyDevice(label, device)
        core.initializeDevice(label)
    core.setCameraDevice("Scanner")
    core.setXYStageDevice("XY")
    core.setFocusDevice("Z")
    core.setShutterDevice("Shutter")
    core.setAutoShutter(False)
