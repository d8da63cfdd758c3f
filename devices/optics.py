"""What the microscope makes of fluorescence: point spread function, loss of light with depth.

Numbers are those of in vivo two-photon imaging through a cranial window with a high-NA water objective.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float32]
Floats = NDArray[np.float64]

FWHM_PER_SIGMA = 2.3548200450309493
"""Full width at half maximum of a Gaussian of standard deviation 1."""


@dataclass(frozen=True)
class Optics:
    """The optical path and the detector.

    Parameters
    ----------
    psf_lateral_um
        Full width at half maximum of the point spread function across the axis, um.
    psf_axial_um
        The same along the axis, um.
    scattering_um
        Depth over which the power at the focus falls to 1/e, um; the two-photon signal falls with its square.
    reference_power_mw
        Power at the sample for which the brightness of samples is given, mW.
    counts_per_photon
        Detector counts of one photon at PMT gain 1.
    offset
        Counts without light.
    read_noise
        Standard deviation of the counts without light.
    """

    psf_lateral_um: float = 0.40
    psf_axial_um: float = 1.8
    scattering_um: float = 150.0
    reference_power_mw: float = 15.0
    counts_per_photon: float = 40.0
    offset: float = 100.0
    read_noise: float = 5.0

    @property
    def sigma_lateral_um(self) -> float:
        """Standard deviation of the point spread function across the axis, um."""
        return self.psf_lateral_um / FWHM_PER_SIGMA

    @property
    def sigma_axial_um(self) -> float:
        """Standard deviation of the point spread function along the axis, um."""
        return self.psf_axial_um / FWHM_PER_SIGMA

    def excitation(self, power_mw: float, dwell_us: float, depth_um: float) -> float:
        """Return the light collected beside that at the reference power, 1 us dwell and the surface."""
        at_focus_mw = power_mw * float(np.exp(-max(depth_um, 0.0) / self.scattering_um))
        return (at_focus_mw / self.reference_power_mw) ** 2 * dwell_us


@dataclass(frozen=True, eq=False)
class FocalView:
    """The plane that the scanner looks at.

    Parameters
    ----------
    centre_zyx_um
        Stage coordinates of the image centre, um.
    image_orientation
        Map of image offsets (right, down) to stage offsets (x, y), shape (2, 2), orthogonal.
    pixel_um
        Pixel size, um.
    pixels
        Width and height of the image.
    sway_yx_um
        Displacement of the tissue in the image while each row is scanned, shape (pixels, 2), um.
    """

    centre_zyx_um: Floats
    image_orientation: Floats
    pixel_um: float
    pixels: int
    sway_yx_um: Floats

    @property
    def rows_cols_from_stage(self) -> Floats:
        """Matrix that maps stage offsets (y, x) from the centre to image offsets (row, column) in pixels."""
        return np.asarray(np.linalg.inv(self.image_orientation[::-1, ::-1]) / self.pixel_um, dtype=np.float64)

    @property
    def reach_um(self) -> float:
        """Half the diagonal of the view, um."""
        return 0.5 * self.pixels * self.pixel_um * float(np.sqrt(2.0))


def splat(rows: Image, cols: Image, weights: Image, pixels: int) -> Image:
    """Add weighted points to an image, each shared bilinearly by four pixels; points outside are dropped."""
    row0, col0 = np.floor(rows), np.floor(cols)
    down, right = rows - row0, cols - col0
    width = pixels + 2
    corner = (row0.astype(np.int32) + 1) * width + col0.astype(np.int32) + 1
    index = np.concatenate([corner, corner + 1, corner + width, corner + width + 1])
    upper, lower = weights * (1 - down), weights * down
    share = np.concatenate([upper * (1 - right), upper * right, lower * (1 - right), lower * right])
    image = np.bincount(index, share, minlength=width * width).reshape(width, width)
    return image[1:-1, 1:-1].astype(np.float32)


def blur(image: Image, sigma_px: float) -> Image:
    """Blur with a Gaussian; a blur much under a pixel changes nothing."""
    if sigma_px < 0.25:
        return image
    return np.asarray(ndimage.gaussian_filter(image, sigma_px, truncate=3.0, mode="constant"), dtype=np.float32)
