"""What else finds a stack in another: correlated projections, and a rigid registration of SimpleITK.

Each answers with the map from today's frame to the reference's, um. Neither says whether it is to be believed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

from analysis.model import Stack, Transform

HAS_ITK = importlib.util.find_spec("SimpleITK") is not None
SHRINK, SMOOTH = [4, 2, 1], [2, 1, 0]  # three levels, as in SimpleITK's own examples
SAMPLED = 0.05  # share of the voxels that the metric looks at
ITERATIONS = 200


def correlate_projections(reference: Stack, today: Stack) -> Transform:
    """Shift alone: y and x from the projections along z, z from the projections along y."""
    fixed, moving = reference.pixels.astype(np.float32), _padded(today, reference)
    # Unlike the amplitudes, the phases alone are lost in the noise of single frames: they do worse here.
    yx, zx = [
        phase_cross_correlation(fixed.max(axis=axis), moving.max(axis=axis), upsample_factor=10, normalization=None)[0]
        for axis in (0, 1)
    ]
    moved_um = np.array([zx[0], *yx]) * reference.voxel_um
    return Transform.translation(_middle(reference) - _middle(today) + moved_um)


def _padded(today: Stack, reference: Stack) -> NDArray[np.float32]:
    """Return the middle of today's pixels in an image of the reference's shape; as dark around as they mostly are."""
    canvas = np.full(reference.pixels.shape, np.median(today.pixels), np.float32)
    sizes = [min(pair) for pair in zip(canvas.shape, today.pixels.shape, strict=True)]
    there, here = (
        tuple(slice((whole - size) // 2, (whole - size) // 2 + size) for whole, size in zip(shape, sizes, strict=True))
        for shape in (canvas.shape, today.pixels.shape)
    )
    canvas[there] = today.pixels[here]
    return canvas


def register_with_itk(reference: Stack, today: Stack, seed: int = 1) -> Transform:
    """Shift and turn: mutual information (Mattes), regular steps down its slope, three levels."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    fixed, moving = (_as_itk(stack) for stack in (reference, today))
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(SAMPLED, seed)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, ITERATIONS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel(SMOOTH)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    centred = SimpleITK.CenteredTransformInitializerFilter.GEOMETRY
    start = SimpleITK.CenteredTransformInitializer(fixed, moving, SimpleITK.Euler3DTransform(), centred)
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    today_from_reference = np.eye(4)
    today_from_reference[:3, :3] = np.reshape(start.GetMatrix(), (3, 3))[::-1, ::-1]  # from x, y, z
    today_from_reference[:3, 3] = start.TransformPoint((0.0, 0.0, 0.0))[::-1]
    return Transform(today_from_reference).inverse()


def _as_itk(stack: Stack):
    import SimpleITK

    image = SimpleITK.GetImageFromArray(stack.pixels.astype(np.float32))
    image.SetSpacing([float(v) for v in stack.voxel_um[::-1]])
    return image


def _middle(stack: Stack) -> NDArray[np.float64]:
    """Return the middle of a stack (z, y, x), um."""
    return (np.array(stack.pixels.shape) - 1) / 2 * stack.voxel_um


def alternatives() -> dict[str, Callable[[Stack, Stack], Transform]]:
    """Return what can be compared here, by name."""
    return {"projections": correlate_projections} | ({"itk": register_with_itk} if HAS_ITK else {})
