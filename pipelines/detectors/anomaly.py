"""A detector that learns from good images alone: whatever differs from all of them scores high.

Three views are summed: how badly the image's summary is rebuilt from the good images' principal components,
how far that summary lies from the nearest good images, and how far its strangest patches lie from a memory
of good patches. The last is PatchCore (Roth et al., CVPR 2022) on fixed filters, without a network.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from inspect_compress.errors import DetectorError
from inspect_compress.images import Image
from pipelines.detectors import Labels, Scores
from pipelines.detectors.features import GRID, Description, Floats, describe
from pipelines.detectors.training import checked_labels

SUMMARY_DIMENSIONS, NEIGHBOUR_DIMENSIONS, PATCH_DIMENSIONS = 60, 30, 12
NEIGHBOURS = 3
MEMORY = 1024
"""Patches kept, spread out over the good ones."""
CANDIDATES = 30_000
"""Patches, drawn from all good images, that the memory is chosen from."""
STRANGEST = 5
"""Patches whose mean distance is the image's: one alone would follow the noise."""
LIMIT = 8.0
"""Standard deviations a single feature may count for."""
LEAST_DEVIATION, LEAST_DISTANCE = 1e-3, 1e-6
"""Keep the score finite where all good images are the same."""
HELD_OUT = 5
"""Every fifth good image is kept from the references, to learn how far an unseen good image usually lies."""


class AnomalyDetector:
    """Scores the distance to good images: standard deviations of unseen good ones, summed over the views."""

    needs_defects = False
    describe = staticmethod(describe)

    def __init__(self) -> None:
        self.threshold = math.nan
        self._fitted = False

    def fit(self, images: Sequence[Image], labels: Labels, *, seed: int = 0) -> "AnomalyDetector":
        """Learn from the good images; `labels` is (N,) bool, True where defective: those are not looked at.

        Raises DetectorError for fewer than five good images, or labels that do not fit the images.
        """
        defective = checked_labels(images, labels, needs_defects=False)
        good = [_described(image) for image, bad in zip(images, defective, strict=True) if not bad]
        return self.fit_described(good, np.zeros(len(good), bool), seed=seed)

    def fit_described(
        self, descriptions: Sequence[Description], labels: Labels, *, seed: int = 0
    ) -> "AnomalyDetector":
        """As `fit`, from what `describe` makes of the images."""
        defective = checked_labels(descriptions, labels, needs_defects=False)
        good = [described for described, bad in zip(descriptions, defective, strict=True) if not bad]
        shuffled = [good[i] for i in np.random.default_rng(seed).permutation(len(good))]
        held_out, references = shuffled[::HELD_OUT], [d for i, d in enumerate(shuffled) if i % HELD_OUT]
        self._wholes = _SummaryView(np.stack([d.whole for d in references]), seed)
        self._patches = _PatchView(np.concatenate([d.patches for d in references]), seed)
        usual = np.array([self._log_distances(described) for described in held_out])
        self._mean, self._deviation = usual.mean(axis=0), np.maximum(usual.std(axis=0), LEAST_DEVIATION)
        self._fitted = True
        return self

    def score(self, images: Sequence[Image]) -> Scores:
        """One float64 per image, about 0 for a usual good one. Raises DetectorError before `fit`."""
        return self.score_described([_described(image) for image in images])

    def score_described(self, descriptions: Sequence[Description]) -> Scores:
        """As `score`, from what `describe` makes of the images."""
        self._require_fit()
        return np.array([self._score_one(described) for described in descriptions], np.float64)

    def heatmap(self, image: Image) -> NDArray[np.float64]:
        """Where an image is strange: (H, W) float64, the distance of each place to the good patches.

        Raises DetectorError before `fit`.
        """
        self._require_fit()
        distances = self._patches.distances(_described(image).patches).reshape(GRID, GRID)
        size = image.shape[1], image.shape[0]
        return np.asarray(cv2.resize(distances, size, interpolation=cv2.INTER_LINEAR), np.float64)

    def _require_fit(self) -> None:
        if not self._fitted:
            raise DetectorError("the anomaly detector is not trained; call fit first")

    def _score_one(self, described: Description) -> float:
        return float(((self._log_distances(described) - self._mean) / self._deviation).sum())

    def _log_distances(self, described: Description) -> NDArray[np.float64]:
        strangest = np.sort(self._patches.distances(described.patches))[-STRANGEST:].mean()
        return np.log(np.array([*self._wholes.distances(described.whole), strangest]) + LEAST_DISTANCE)


class _SummaryView:
    """The good images' summaries, (N, features): their principal components, and they themselves."""

    def __init__(self, summaries: Floats, seed: int) -> None:
        self._scaler = StandardScaler().fit(summaries)
        scaled = self._scaled(summaries)
        self._pca = PCA(min(SUMMARY_DIMENSIONS, (len(summaries) + 1) // 2), random_state=seed).fit(scaled)
        self._known = self._pca.transform(scaled)[:, :NEIGHBOUR_DIMENSIONS]

    def distances(self, whole: Floats) -> tuple[float, float]:
        """How badly the components rebuild it, and its mean distance to the nearest good images."""
        scaled = self._scaled(whole[None])
        projected = self._pca.transform(scaled)
        rebuilt = float(np.linalg.norm(scaled - self._pca.inverse_transform(projected)))
        to_known = np.linalg.norm(self._known - projected[:, :NEIGHBOUR_DIMENSIONS], axis=1)
        return rebuilt, float(np.sort(to_known)[:NEIGHBOURS].mean())

    def _scaled(self, summaries: Floats) -> Floats:
        return np.clip(self._scaler.transform(summaries), -LIMIT, LIMIT)


class _PatchView:
    """A memory of good patches, spread out so that rare ones are kept; from (N, channels) patches."""

    def __init__(self, good: Floats, seed: int) -> None:
        generator = np.random.default_rng(seed)
        drawn = good[generator.choice(len(good), min(CANDIDATES, len(good)), replace=False)]
        self._space = make_pipeline(StandardScaler(), PCA(PATCH_DIMENSIONS, whiten=True, random_state=seed))
        self._memory = _spread_out(self._space.fit_transform(drawn), MEMORY)

    def distances(self, local: Floats) -> NDArray[np.float64]:
        """Each patch's distance to the nearest in memory: (patches, channels) to (patches,)."""
        placed = self._space.transform(local)
        squares = (placed**2).sum(axis=1)[:, None] + (self._memory**2).sum(axis=1)
        squares -= 2 * placed @ self._memory.T
        return np.sqrt(np.maximum(squares.min(axis=1), 0)).astype(np.float64)


def _described(image: Image) -> Description:
    return describe(image, local=False)


def _spread_out(points: Floats, count: int) -> Floats:
    """Choose `count` of (N, D) points, each the farthest from those chosen before (greedy k-centre)."""
    chosen = [0]
    nearest = ((points - points[0]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]
