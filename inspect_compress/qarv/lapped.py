"""The classical transform that the network is born as: a lapped 16×16 transform at stride 8.

Nothing here is trained; these are the values the first and the last layer start from.
"""

import numpy as np
from numpy.typing import NDArray

BLOCK = 8
SUPPORT = 16
_ROTATIONS = (0.13 * np.pi, 0.16 * np.pi, 0.13 * np.pi)


def lapped_basis() -> NDArray[np.float64]:
    """The 64 two-dimensional basis functions, `(64, 16, 16)`, orthonormal, lowest frequency first.

    Malvar's lapped orthogonal transform (H. S. Malvar and D. H. Staelin, "The LOT: transform coding without
    blocking effects", IEEE TASSP 37(4), 1989), fast version for 8 bands, applied to rows and columns.
    """
    one = _lapped_basis_1d()
    two = np.einsum("ui,vj->uvij", one, one).reshape(BLOCK * BLOCK, SUPPORT, SUPPORT)
    order = np.argsort([u * u + v * v for u in range(BLOCK) for v in range(BLOCK)], kind="stable")
    return two[order]


def _lapped_basis_1d() -> NDArray[np.float64]:
    """The 8 one-dimensional basis functions, `(8, 16)`, even and odd ones in turn."""
    k = np.arange(BLOCK)
    dct = np.sqrt(2 / BLOCK) * np.cos((2 * k[None] + 1) * k[:, None] * np.pi / (2 * BLOCK))
    dct[0] /= np.sqrt(2)
    difference = dct[0::2] - dct[1::2]
    reverse = np.eye(BLOCK)[::-1]
    stacked = 0.5 * np.block([[difference, difference @ reverse], [difference, -difference @ reverse]])
    half = BLOCK // 2
    rotation = np.eye(half)
    for i, angle in enumerate(_ROTATIONS):
        step = np.eye(half)
        step[i : i + 2, i : i + 2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        rotation = rotation @ step
    stacked[half:] = rotation.T @ stacked[half:]
    basis = np.empty((BLOCK, SUPPORT))
    basis[0::2], basis[1::2] = stacked[:half], stacked[half:]
    return basis
