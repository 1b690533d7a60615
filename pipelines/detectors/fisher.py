"""Fisher vectors: many local descriptors of one image summed into one vector that a kernel machine can use.

Source: Sánchez, Perronnin, Mensink and Verbeek, "Image Classification with the Fisher Vector" (IJCV 2013),
with its power and L2 normalisation.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from pipelines.detectors.features import Floats

DIMENSIONS, COMPONENTS = 24, 32
SAMPLES = 30_000
"""Descriptors, over all images, that the mixture is fitted to."""
ROUNDS, VARIANCE_FLOOR = 30, 1e-3


class FisherEncoder:
    """Learns a vocabulary of local descriptors, and encodes an image against it."""

    def fit(self, descriptors: Sequence[Floats], *, seed: int) -> "FisherEncoder":
        """Learn from one (patches, channels) float32 array per image. No labels."""
        generator = np.random.default_rng(seed)
        each = min(len(descriptors[0]), -(-SAMPLES // len(descriptors)))
        sample = np.concatenate([d[generator.choice(len(d), each, replace=False)] for d in descriptors])
        self._scaler = StandardScaler().fit(sample)
        scaled = self._scaler.transform(sample)
        self._pca = PCA(DIMENSIONS, random_state=seed).fit(scaled)
        self._mixture = GaussianMixture(
            COMPONENTS, covariance_type="diag", max_iter=ROUNDS, reg_covar=VARIANCE_FLOOR, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a vocabulary need not be the best one
            self._mixture.fit(self._pca.transform(scaled))
        return self

    def encode(self, descriptors: Floats) -> NDArray[np.float64]:
        """Return one image's (2 · COMPONENTS · DIMENSIONS,) float64 vector of length one."""
        x = self._pca.transform(self._scaler.transform(descriptors)).astype(np.float64)
        weights, means = self._mixture.weights_, self._mixture.means_
        deviations = np.sqrt(self._mixture.covariances_)
        shares = self._mixture.predict_proba(x)
        total, first, second = shares.sum(axis=0)[:, None], shares.T @ x, shares.T @ (x * x)
        to_means = (first - total * means) / (deviations * np.sqrt(weights)[:, None])
        spread = (second - 2 * first * means + total * means**2) / deviations**2 - total
        to_deviations = spread / np.sqrt(2 * weights)[:, None]
        vector = np.concatenate([to_means.ravel(), to_deviations.ravel()]) / len(x)
        vector = np.sign(vector) * np.sqrt(np.abs(vector))
        return vector / max(float(np.linalg.norm(vector)), 1e-12)
