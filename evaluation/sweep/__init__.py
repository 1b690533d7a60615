"""The chain swept over codecs and qualities: encode, store, read back, decode, detect. Judges nothing.

Every codec and quality sees the same test frames, in memory that does not grow with their number. Detectors see
them as they are (frozen), retrained on decoded frames (adapted), and trained on all versions of frames (aware).
"""

from evaluation.sweep.frames import frame_ids
from evaluation.sweep.run import ARCHIVE, PARTS, Step, Sweep, sweep, train_detectors
from evaluation.sweep.training import FIXED, MIN_TRAIN_DEFECTIVE, TOO_FEW, TrainedDetector

__all__ = [
    "ARCHIVE",
    "FIXED",
    "MIN_TRAIN_DEFECTIVE",
    "PARTS",
    "TOO_FEW",
    "Step",
    "Sweep",
    "TrainedDetector",
    "frame_ids",
    "sweep",
    "train_detectors",
]
