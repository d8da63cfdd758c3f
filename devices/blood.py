"""Capillaries, with a red dye in their blood plasma (70 kDa dextran with Texas Red or rhodamine, injected into a vein).

A second detector sees them beside the dendrites. Red blood cells exclude the dye; they pass too fast to be seen apart.
"""

from __future__ import annotations

import numpy as np

from devices.branches import STEP_UM, wander
from devices.cloud import Cloud

CAPILLARY_SIGMA_UM = 1.5
"""Standard deviation, across the axis, of a capillary as it is imaged, um: it is 4-6 um wide."""

CAPILLARY_AXIAL_UM = 2.2
"""The same along the axis, um."""

PLASMA_PHOTONS = 6.0
"""Photons from the middle of a capillary at reference power and 1 us dwell."""

LENGTH_PER_VOLUME = 9e-4
"""Length of capillary in a volume, um per um^3: about 0.9 m/mm^3 in the mouse's cortex (Tsai et al. 2009)."""

PIECE_UM = (80.0, 250.0)
"""Least and greatest length of a piece between branchings that are not drawn, um."""

POINT_EVERY = 4
"""One point in so many steps of the curve is enough for a tube this wide."""


def generate_capillaries(seed: int, half_width_um: float, depth_um: tuple[float, float]) -> Cloud:
    """Draw capillaries through a box of tissue; the same seed gives the same ones.

    Parameters
    ----------
    seed
        Seed of the sample.
    half_width_um
        The box spans -half_width_um .. half_width_um along x and y, um.
    depth_um
        Its least and greatest depth, um.
    """
    rng = np.random.default_rng([seed, 7])
    left_um = LENGTH_PER_VOLUME * (2.0 * half_width_um) ** 2 * (depth_um[1] - depth_um[0])
    pieces = []
    while left_um > 0.0:
        start = np.array([rng.uniform(*depth_um), *rng.uniform(-half_width_um, half_width_um, 2)])
        length_um = float(rng.uniform(*PIECE_UM))
        heading = float(rng.uniform(0.0, 2.0 * np.pi))
        path = wander(rng, start, heading, length_um, bend_rad=0.7, turn_um=30.0, slope=0.4)
        pieces.append(path[::POINT_EVERY])
        left_um -= length_um
    points = np.concatenate(pieces).astype(np.float32)
    # Points lie POINT_EVERY steps apart: a straight row of Gaussians of peak w sums to w sqrt(2 pi) sigma / distance.
    weight = POINT_EVERY * STEP_UM / (np.sqrt(2.0 * np.pi) * CAPILLARY_SIGMA_UM)
    return Cloud(points, np.full(len(points), weight, np.float32), np.full(len(points), -1, np.int32))
