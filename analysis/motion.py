"""The rigid motion, or the similarity, that best carries some points onto others, when part of the pairs are wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.model import Floats, Transform


def fit_motion(source_um: ArrayLike, target_um: ArrayLike, weight: ArrayLike, *, with_scale: bool = False) -> Transform:
    """Return the weighted least-squares motion from ``source_um`` to ``target_um`` (Umeyama 1991).

    Parameters
    ----------
    source_um, target_um
        Pairs of points, shape (n, 2) or (n, 3), um.
    weight
        Weight of each pair, shape (n,), not all zero.
    with_scale
        Whether the motion may also scale.
    """
    source, target, w = (np.asarray(v, dtype=float) for v in (source_um, target_um, weight))
    w = w / w.sum()
    a, b = w @ source, w @ target
    u, singular, vt = np.linalg.svd(((source - a) * w[:, None]).T @ (target - b))
    signs = np.ones(len(a))
    signs[-1] = np.sign(np.linalg.det(vt.T @ u.T))
    linear = vt.T @ np.diag(signs) @ u.T
    if with_scale:
        linear *= float(singular @ signs) / max(float(w @ np.sum((source - a) ** 2, axis=1)), 1e-12)
    matrix = np.eye(len(a) + 1)
    matrix[:-1, :-1] = linear
    matrix[:-1, -1] = b - linear @ a
    return Transform(matrix)


def fit_motion_robustly(
    source_um: ArrayLike,
    target_um: ArrayLike,
    weight: ArrayLike,
    *,
    axis_weight: ArrayLike,
    with_scale: bool = False,
    tightest_um: float = 0.5,
) -> tuple[Transform, Floats]:
    """Fit a motion again and again while pairs that stay apart lose their weight (Tukey's biweight).

    Parameters
    ----------
    source_um, target_um, weight, with_scale
        As in :func:`fit_motion`.
    axis_weight
        How much a distance along each axis counts, shape (dimensions,): 0.5 for a blurred depth.
    tightest_um
        Distance below which a pair is never thought wrong, um.

    Returns
    -------
    tuple
        The motion, and the distance that remains between each pair, um (weighted by axis), shape (n,).
    """
    source, target = np.asarray(source_um, dtype=float), np.asarray(target_um, dtype=float)
    given: NDArray[np.float64] = np.asarray(weight, dtype=float) + 1e-9
    motion = Transform.identity(source.shape[1])
    rest = np.linalg.norm((motion.apply(source) - target) * axis_weight, axis=1)
    for _ in range(15):
        scale = 4.5 * max(tightest_um / 1.5, float(np.median(rest)))
        trust = np.maximum(0.0, 1.0 - (rest / scale) ** 2) ** 2
        motion = fit_motion(source, target, given * (trust + 1e-9), with_scale=with_scale)
        rest = np.linalg.norm((motion.apply(source) - target) * axis_weight, axis=1)
    return motion, rest
