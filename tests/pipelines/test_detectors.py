"""What users rely on in the built-in detectors, on drawn images; the solar cells only where they are present."""

import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from inspect_compress.errors import DatasetError, DetectorError, ImageError
from inspect_compress.images import Image, write_png
from pipelines.detectors import Detector, Labels, detector_names, load_detector
from pipelines.detectors.anomaly import AnomalyDetector
from pipelines.detectors.classifier import DefectClassifier
from pipelines.detectors.depth import EightBitDetector
from pipelines.detectors.evaluate import main, read_split
from pipelines.detectors.threshold import calibrate_threshold

DATA = Path(os.environ.get("INSPECT_COMPRESS_DATA", Path(__file__).parents[2] / "../shared/data"))
CELLS = DATA / "elpv" / "labels.csv"
BOTH = pytest.mark.parametrize("kind", [DefectClassifier, AnomalyDetector])


def part(seed: int, *, defective: bool, height: int = 96, width: int = 128, colour: bool = False) -> Image:
    """A grainy surface, striped or plain; where defective, with a dark scratch across the grain."""
    generator = np.random.default_rng([seed, defective])
    surface = 120 + 12 * generator.standard_normal((height, width))
    if seed % 2:
        surface += 25 * np.sin(np.arange(width) / 4)
    if defective:
        start, end = generator.uniform(0.1, 0.4, 2), generator.uniform(0.6, 0.9, 2)
        ends = [tuple(int(v) for v in p * (width, height)) for p in (start, end)]
        cv2.line(surface, *ends, color=40, thickness=max(1, height // 40))
    grey = np.clip(surface, 0, 255).astype(np.uint8)
    return np.stack([grey, grey // 2 + 60, grey // 3], axis=-1) if colour else grey


@cache
def parts(count: int, first: int = 0) -> tuple[list[Image], Labels]:
    labels = np.arange(count) % 2 == 0
    return [part(first + i // 2, defective=bool(bad)) for i, bad in enumerate(labels)], labels


@cache
def trained(kind: type[Detector]) -> Detector:
    return kind().fit(*parts(120))


@BOTH
def test_tells_scratched_parts_from_good_ones(kind):
    images, labels = parts(60, first=1000)

    scores = trained(kind).score(images)

    assert scores.dtype == np.float64
    assert roc_auc_score(labels, scores) > 0.95


@BOTH
def test_same_seed_same_scores(kind):
    images, labels = parts(40)
    probes = parts(10, first=1000)[0]

    first, second = (kind().fit(images, labels, seed=3).score(probes) for _ in range(2))

    np.testing.assert_array_equal(first, second)


@BOTH
def test_a_score_does_not_depend_on_order_or_batch_mates(kind):
    images = parts(12, first=1000)[0]

    together = trained(kind).score(images)

    np.testing.assert_array_equal(trained(kind).score(images[::-1])[::-1], together)
    np.testing.assert_array_equal([trained(kind).score([image])[0] for image in images], together)


@BOTH
@pytest.mark.parametrize(
    "image",
    [
        np.full((16, 16), 128, np.uint8),
        np.zeros((16, 300, 3), np.uint8),
        np.full((1, 1), 255, np.uint8),
        part(1, defective=True, height=700, width=500),
        part(1, defective=False, colour=True),
    ],
    ids=["small-flat", "black-strip", "one-pixel", "large", "colour"],
)
def test_scores_any_size_and_colour_with_a_finite_number(kind, image):
    assert np.isfinite(trained(kind).score([image])).all()


@BOTH
def test_learns_from_mono_and_colour_of_several_sizes_together(kind):
    def mixed(first: int, count: int) -> tuple[list[Image], Labels]:
        labels = np.arange(count) % 2 == 0
        sizes = [(16, 16), (80, 120), (150, 90)]
        return [
            part(first + i, defective=bool(bad), height=h, width=w, colour=i % 4 < 2)
            for i, bad in enumerate(labels)
            for h, w in [sizes[i % 3]]
        ], labels

    images, labels = mixed(1000, 40)

    scores = kind().fit(*mixed(0, 60)).score(images)

    assert np.isfinite(scores).all()
    assert roc_auc_score(labels, scores) > 0.6


@BOTH
@pytest.mark.filterwarnings("ignore")  # scikit-learn remarks that nothing varies
def test_learns_from_the_fewest_images_and_from_images_that_are_all_the_same(kind):
    same = [np.full((32, 32), 90, np.uint8)] * 10

    scores = kind().fit(same, np.arange(10) < 5).score(same[:2])

    assert np.isfinite(scores).all()


@BOTH
def test_mono_and_the_same_grey_in_rgb_score_alike(kind):
    image = part(7, defective=True)

    mono, grey = trained(kind).score([image, np.dstack([image] * 3)])

    assert mono == pytest.approx(grey, rel=0.01)


@BOTH
def test_refuses_what_cannot_be_learned_from(kind):
    images, labels = parts(20)
    for bad_images, bad_labels, message in [
        ([], np.zeros(0, bool), "no images"),
        (images, labels[:-1], "20 images but 19 labels"),
        (images, np.ones(20, bool), "only 0 good"),
        (images[:8], labels[:8], "only 4 good"),
    ]:
        with pytest.raises(DetectorError, match=message):
            kind().fit(bad_images, bad_labels)


def test_the_classifier_needs_defects_and_the_anomaly_detector_does_not():
    images = [part(i, defective=False) for i in range(8)]
    nothing_bad = np.zeros(8, bool)

    assert DefectClassifier.needs_defects
    with pytest.raises(DetectorError, match="only 0 defective"):
        DefectClassifier().fit(images, nothing_bad)
    assert not AnomalyDetector.needs_defects
    AnomalyDetector().fit(images, nothing_bad)


def test_the_anomaly_detector_does_not_look_at_defective_images():
    images, labels = parts(30)
    good = [image for image, bad in zip(images, labels, strict=True) if not bad]
    probes = parts(6, first=1000)[0]

    with_defects = AnomalyDetector().fit(images, labels).score(probes)
    without = AnomalyDetector().fit(good, np.zeros(len(good), bool)).score(probes)

    np.testing.assert_array_equal(with_defects, without)


@BOTH
def test_refuses_to_score_before_it_is_trained(kind):
    with pytest.raises(DetectorError, match="call fit"):
        kind().score([part(0, defective=False)])


@BOTH
def test_refuses_an_image_that_is_not_8_bit(kind):
    with pytest.raises(ImageError, match="uint8"):
        trained(kind).score([np.zeros((20, 20), np.uint16)])


class Levels:
    """A detector that learns nothing: the largest sample that it is shown is the score."""

    needs_defects = False
    threshold = float("nan")

    def fit(self, images, labels, *, seed=0):
        return self

    def score(self, images):
        assert all(image.dtype == np.uint8 for image in images)
        return np.array([float(image.max()) for image in images])


def deep(largest: int) -> Image:
    return np.array([[0, largest]], np.uint16)


@pytest.mark.parametrize(("trained_on", "white"), [(1000, 1023), (1500, 4095), (5000, 65535)])
def test_deep_images_are_scaled_by_the_depth_of_those_learned_from(trained_on, white):
    detector = EightBitDetector(Levels()).fit([deep(3), deep(trained_on)], np.zeros(2, bool))

    scores = detector.score([deep(0), deep(white // 2), deep(white), deep(65535)])

    assert scores.tolist() == [0, 127, 255, 255]


def test_8_bit_images_are_passed_on_as_they_are():
    images, labels = parts(40)
    probes = parts(4, first=1000)[0]

    wrapped = EightBitDetector(AnomalyDetector()).fit(images, labels, seed=1).score(probes)

    np.testing.assert_array_equal(wrapped, AnomalyDetector().fit(images, labels, seed=1).score(probes))


def test_8_bit_and_deep_images_are_not_mixed():
    eight = np.zeros((1, 2), np.uint8)

    with pytest.raises(DetectorError, match="of 8 bits and of more"):
        EightBitDetector(Levels()).fit([eight, deep(1500)], np.zeros(2, bool))
    with pytest.raises(DetectorError, match="a frame of 8 bits, but the detector learned from frames of 12"):
        EightBitDetector(Levels()).fit([deep(1500)], np.zeros(1, bool)).score([eight])
    with pytest.raises(DetectorError, match="a frame of 12 bits, but the detector learned from frames of 8"):
        EightBitDetector(Levels()).fit([eight], np.zeros(1, bool)).score([deep(1500)])


@BOTH
def test_no_images_no_scores(kind):
    assert trained(kind).score([]).shape == (0,)


@BOTH
def test_the_threshold_is_not_set_by_training(kind):
    assert np.isnan(trained(kind).threshold)


def test_the_heatmap_is_highest_at_the_defect():
    image = part(4, defective=False)
    image[60:72, 90:102] = 20

    heat = trained(AnomalyDetector).heatmap(image)

    assert heat.shape == image.shape
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 52 <= row <= 80
    assert 82 <= column <= 110


def test_the_heatmap_needs_training():
    with pytest.raises(DetectorError, match="call fit"):
        AnomalyDetector().heatmap(part(0, defective=False))


def test_both_are_found_by_name():
    assert {"anomaly", "classifier"} <= set(detector_names())
    assert isinstance(load_detector("classifier"), DefectClassifier)
    assert isinstance(load_detector("anomaly"), AnomalyDetector)


@pytest.mark.parametrize("target_far", [0.0, 0.01, 0.05, 0.1, 0.5, 0.99])
def test_the_threshold_is_the_smallest_that_keeps_the_false_alarm_rate(target_far):
    generator = np.random.default_rng(0)
    scores, labels = generator.integers(0, 40, 300).astype(float), generator.random(300) < 0.3

    threshold = calibrate_threshold(scores, labels, target_far=target_far)

    good = scores[~labels]
    assert (good >= threshold).mean() <= target_far
    assert (good >= np.nextafter(threshold, -np.inf)).mean() > target_far


def test_every_good_frame_may_alarm_at_a_target_of_one():
    assert calibrate_threshold(np.array([1.0, 2.0]), np.zeros(2, bool), target_far=1) == -np.inf


def test_a_rate_that_is_a_whole_number_of_frames_is_used_in_full():
    scores = np.arange(100.0)

    threshold = calibrate_threshold(scores, np.zeros(100, bool), target_far=0.29)

    assert (scores >= threshold).sum() == 29


@pytest.mark.parametrize(
    ("scores", "labels", "target_far", "message"),
    [
        ([1.0], [True], 0.1, "no good frame"),
        ([1.0, 2.0], [False], 0.1, "one label per score"),
        ([1.0, np.nan], [False, False], 0.1, "not finite"),
        ([1.0], [False], 1.5, "from 0 to 1"),
    ],
)
def test_a_threshold_is_refused_with_a_reason(scores, labels, target_far, message):
    with pytest.raises(DetectorError, match=message):
        calibrate_threshold(np.array(scores), np.array(labels), target_far=target_far)


def test_the_evaluation_prints_one_line_per_detector(tmp_path, capsys):
    rows = ["image,defect,split"]
    for i, image in enumerate(parts(60)[0]):
        write_png(tmp_path / f"{i}.png", image)
        rows.append(f"{i}.png,{'' if i % 2 else 'scratch'},{'train' if i < 40 else 'test'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))

    code = main([str(tmp_path / "labels.csv")])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line.split(":")[0] for line in lines] == ["anomaly", "classifier"]
    assert all("10 good and 10 defective test images" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,split\na.png,train\n", "defect"),
        ("image,defect,split\na.png,,test\nb.png,scratch,test\n", "no rows of split 'train'"),
        ("image,defect_probability,split\na.png,often,train\n", "'often'; it must be a number"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_with_a_reason(tmp_path, text, message):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, part(0, defective=False))
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_split(tmp_path / "labels.csv", "train")


@pytest.mark.slow
@pytest.mark.skipif(not CELLS.exists(), reason=f"{CELLS} is absent; set INSPECT_COMPRESS_DATA to its folder")
@pytest.mark.parametrize(("kind", "least"), [(DefectClassifier, 0.85), (AnomalyDetector, 0.7)])
def test_is_worth_measuring_on_solar_cells(kind, least):
    images, labels = read_split(CELLS, "test")

    scores = kind().fit(*read_split(CELLS, "train")).score(images)

    assert roc_auc_score(labels, scores) >= least
