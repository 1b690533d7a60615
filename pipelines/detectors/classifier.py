"""A supervised detector: learns from good and defective images in seconds, on a processor, without downloads.

It is a strong, honest baseline to measure compression with, not a replacement for a plant's own network.
"""

import math
from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from inspect_compress.errors import DetectorError
from inspect_compress.images import Image
from pipelines.detectors import Labels, Scores
from pipelines.detectors.features import Description, Floats, describe, signed_roots
from pipelines.detectors.fisher import FisherEncoder
from pipelines.detectors.training import checked_labels

TREES, LEARNING_RATE, LEAVES, FEATURE_SHARE = 200, 0.06, 15, 0.1
SUMMARY_PENALTY, FISHER_PENALTY = 3.0, 5.0
"""Chosen by cross-validation on a training set of 1,968 solar cells; see docs/detectors.md."""
TREE_THREADS = 1
"""Where other work shares the cores, OpenMP's threads wait for each other ten times as long as one would take."""
MARGIN_SLOPE = 2.0
"""Turns a support vector machine's margin into something like a probability before votes are averaged."""


class DefectClassifier:
    """Gradient-boosted trees and two support vector machines vote on fixed texture features.

    One machine and the trees see the pooled summary of the whole image, the other a Fisher vector of its
    local descriptors. A score is the mean of three values in 0 to 1; it is not a calibrated probability.
    """

    needs_defects = True
    describe = staticmethod(describe)

    def __init__(self) -> None:
        self.threshold = math.nan
        self._fitted = False

    def fit(self, images: Sequence[Image], labels: Labels, *, seed: int = 0) -> "DefectClassifier":
        """Train on images of any size, mono or RGB; `labels` is (N,) bool, True where defective.

        Raises DetectorError for fewer than five images of a class, or labels that do not fit the images.
        """
        defective = checked_labels(images, labels, needs_defects=True)
        return self.fit_described([describe(image) for image in images], defective, seed=seed)

    def fit_described(
        self, descriptions: Sequence[Description], labels: Labels, *, seed: int = 0
    ) -> "DefectClassifier":
        """As `fit`, from what `describe` makes of the images."""
        defective = checked_labels(descriptions, labels, needs_defects=True)
        summaries, descriptors = [d.whole for d in descriptions], [d.local for d in descriptions]
        self._encoder = FisherEncoder().fit(descriptors, seed=seed)
        self._trees = HistGradientBoostingClassifier(
            max_iter=TREES,
            learning_rate=LEARNING_RATE,
            max_leaf_nodes=LEAVES,
            max_features=FEATURE_SHARE,
            l2_regularization=1.0,
            random_state=seed,
        )
        with threadpool_limits(TREE_THREADS, "openmp"):
            self._trees.fit(np.stack(summaries), defective)
        self._summary_machine = make_pipeline(
            StandardScaler(), SVC(C=SUMMARY_PENALTY, gamma="scale", class_weight="balanced")
        ).fit(signed_roots(np.stack(summaries)), defective)
        fisher_vectors = np.stack([self._encoder.encode(d) for d in descriptors])
        self._fisher_machine = SVC(C=FISHER_PENALTY, gamma=1.0, class_weight="balanced")
        self._fisher_machine.fit(fisher_vectors, defective)
        self._fitted = True
        return self

    def score(self, images: Sequence[Image]) -> Scores:
        """One float64 in 0 to 1 per image. Raises DetectorError before `fit`."""
        return self.score_described([describe(image) for image in images])

    def score_described(self, descriptions: Sequence[Description]) -> Scores:
        """As `score`, from what `describe` makes of the images."""
        if not self._fitted:
            raise DetectorError("the classifier is not trained; call fit before score")
        if len(descriptions) == 0:
            return np.zeros(0)
        whole: Floats = np.stack([d.whole for d in descriptions])
        local = np.stack([self._encoder.encode(d.local) for d in descriptions])
        with threadpool_limits(TREE_THREADS, "openmp"):
            of_trees = self._trees.predict_proba(whole)[:, 1]
        votes = (
            of_trees,
            _squashed(self._summary_machine.decision_function(signed_roots(whole))),
            _squashed(self._fisher_machine.decision_function(local)),
        )
        return np.mean(votes, axis=0)


def _squashed(margins: Scores) -> Scores:
    return 1 / (1 + np.exp(-MARGIN_SLOPE * margins))
