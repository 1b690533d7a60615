"""The sweep: what each scenario's detectors learn from, where thresholds lie, and that a killed one goes on."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.pilot_config import PilotConfig
from evaluation.scored import Scored
from evaluation.sweep import ARCHIVE, FIXED, PARTS, TOO_FEW, Sweep, sweep
from evaluation.sweep.coding import DecodedFrames, Setting
from evaluation.sweep.lessons import train_items, versions
from inspect_compress import load_codec, read_image
from inspect_compress.errors import ConfigError, DatasetError, DetectorError
from pipelines.archive import Archive
from pipelines.datasets import Dataset, Item, read_dataset, split_dataset
from pipelines.detectors.threshold import calibrate_threshold
from pipelines.engines import EngineName, LocalEngine, load_engine

PLANT = Path(__file__).parent / "plant"
SIZES = {"codecs": ("jpeg", "webp"), "qualities": (5, 60)}
SHARPNESS = PilotConfig(**SIZES, detectors=("plant-sharpness", "plant-fixed"), target_false_alarm_rate=0.1)
Step = tuple[str, int, int]

KILLED = """
import sys
from pathlib import Path
from evaluation.pilot_config import read_pilot_config
from evaluation.sweep import sweep
from pipelines.datasets import read_dataset, split_dataset

dataset = split_dataset(read_dataset(Path(sys.argv[1])))
sweep(dataset, read_pilot_config(Path(sys.argv[2])), Path(sys.argv[3]), step=lambda *_: None)
"""


@pytest.fixture(scope="module", autouse=True)
def plant() -> Iterator[Any]:
    """The plant's package, installed for this process too."""
    sys.path.insert(0, str(PLANT))
    importlib.invalidate_caches()
    yield importlib.import_module("plant_detectors")
    sys.path.remove(str(PLANT))


@pytest.fixture(scope="module")
def dataset(spots: Path) -> Dataset:
    return split_dataset(read_dataset(spots))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def swept(dataset: Dataset, work: Path, plant: Any) -> Sweep:
    return run(dataset, SHARPNESS, work)


def run(dataset: Dataset, config: PilotConfig, work: Path, steps: list[Step] | None = None) -> Sweep:
    told = [] if steps is None else steps
    return sweep(dataset, config, work, step=lambda *step: told.append(step))


def images(dataset: Dataset, split: str, codec: str = "", quality: int = 0) -> list[Any]:
    """A split's frames, as they came or as a codec makes them."""
    originals = [read_image(item.image) for item in dataset.items if item.split == split]
    coder = load_codec(codec) if codec else None
    return [coder.decode(coder.encode(image, quality=quality)) for image in originals] if coder else originals


def good(dataset: Dataset, split: str) -> np.ndarray:
    return np.array([not item.is_defective for item in dataset.items if item.split == split])


# Tables


def test_every_setting_has_each_test_frame_once(swept: Sweep, dataset: Dataset) -> None:
    frames = sum(item.split == "test" for item in dataset.items)

    assert len(swept.originals) == swept.originals["frame_id"].nunique() == frames
    assert len(swept.results) == 4 * frames
    assert not swept.results.duplicated(["frame_id", "codec", "quality"]).any()
    assert list(swept.results["codec"].unique()) == ["jpeg", "webp"]


def test_frozen_detectors_come_first_and_a_fixed_one_is_not_retrained(swept: Sweep) -> None:
    assert swept.scored == (
        Scored("plant-sharpness", "frozen"),
        Scored("plant-fixed", "frozen"),
        Scored("plant-sharpness", "adapted"),
        Scored("plant-sharpness", "aware"),
    )
    assert swept.left_out == {"plant-fixed_adapted": FIXED, "plant-fixed_aware": FIXED}


def test_each_detector_has_scores_and_flags_and_originals_none_of_the_adapted(swept: Sweep) -> None:
    columns = {f"{kind}_{one.column}" for one in swept.scored for kind in ("score", "flag")}

    assert columns <= set(swept.results.columns)
    adapted = {f"{kind}_plant-sharpness_adapted" for kind in ("score", "flag")}
    assert columns - set(swept.originals.columns) == adapted
    assert not swept.results[sorted(columns)].isna().any().any()


def test_fidelity_of_a_defect_is_known_where_a_mask_is(swept: Sweep) -> None:
    good_frames = swept.results["defect"] == ""

    assert swept.results.loc[good_frames, ["mask_psnr", "edges_kept", "contrast_kept"]].isna().all().all()
    assert swept.results.loc[~good_frames, "mask_psnr"].notna().all()
    assert swept.results["ms_ssim"].between(0, 1).all()
    by_quality = swept.results.groupby("quality")[["psnr", "ms_ssim"]].mean()
    assert (by_quality.loc[60] > by_quality.loc[5]).all()


# Scenarios


def test_frozen_scores_are_of_a_detector_trained_on_the_originals(swept: Sweep, dataset: Dataset, plant: Any) -> None:
    usual = np.mean([plant.sharpness(image) for image in images(dataset, "train")])

    expected = [plant.sharpness(image) - usual for image in images(dataset, "test")]
    np.testing.assert_allclose(swept.originals["score_plant-sharpness"], expected)


def test_adapted_scores_are_of_a_detector_trained_on_frames_of_that_codec_and_quality(
    swept: Sweep, dataset: Dataset, plant: Any
) -> None:
    for codec, quality in (("jpeg", 5), ("webp", 60)):
        usual = np.mean([plant.sharpness(image) for image in images(dataset, "train", codec, quality)])
        expected = [plant.sharpness(image) - usual for image in images(dataset, "test", codec, quality)]
        rows = swept.results.query("codec == @codec and quality == @quality")
        np.testing.assert_allclose(rows["score_plant-sharpness_adapted"], expected)


def test_an_aware_detector_has_seen_originals_and_decoded_frames(swept: Sweep, dataset: Dataset, plant: Any) -> None:
    """It expects frames that are less sharp than originals, and sharper than the worst decoded ones."""
    usual = (swept.originals["score_plant-sharpness"] - swept.originals["score_plant-sharpness_aware"]).unique()
    worst = np.mean([plant.sharpness(image) for image in images(dataset, "train", "jpeg", 5)])
    best = np.mean([plant.sharpness(image) for image in images(dataset, "train")])

    assert np.ptp(usual) < 1e-9
    assert worst - best < usual[0] < 0


def test_thresholds_are_fixed_on_calibration_frames_of_the_same_kind(
    swept: Sweep, dataset: Dataset, plant: Any
) -> None:
    labels = ~good(dataset, "calibration")
    expected = {}
    for scenario, codec, quality in (("frozen", "original", 0), ("adapted", "jpeg", 5), ("adapted", "webp", 60)):
        of = (codec, quality) if quality else ("", 0)
        usual = np.mean([plant.sharpness(image) for image in images(dataset, "train", *of)])
        scores = np.array([plant.sharpness(image) - usual for image in images(dataset, "calibration", *of)])
        expected[scenario, codec, quality] = calibrate_threshold(scores, labels, target_far=0.1)

    rows = swept.thresholds.query("detector == 'plant-sharpness'").fillna({"quality": 0})
    found = rows.set_index(["scenario", "codec", "quality"])["threshold"]
    assert {key: found[key] for key in expected} == pytest.approx(expected)


def test_flags_are_scores_at_or_above_the_threshold_of_their_setting(swept: Sweep) -> None:
    thresholds = swept.thresholds.query("scenario == 'adapted'").set_index(["codec", "quality"])["threshold"]
    rows = swept.results.set_index(["codec", "quality"])
    limits = np.array([thresholds[key] for key in rows.index])

    assert (rows["flag_plant-sharpness_adapted"] == (rows["score_plant-sharpness_adapted"] >= limits)).all()


def test_only_the_scenarios_that_were_asked_for_are_run(dataset: Dataset, tmp_path: Path) -> None:
    config = PilotConfig(codecs=("jpeg",), qualities=(60,), detectors=("plant-sharpness",), scenarios=("frozen",))
    steps: list[Step] = []

    swept = run(dataset, config, tmp_path, steps)

    assert swept.scored == (Scored("plant-sharpness", "frozen"),)
    assert {phase for phase, *_ in steps} == {"train", "measure"}
    with pytest.raises(ValueError, match="frozen"):
        PilotConfig(scenarios=("adapted",))


@given(
    good=st.integers(0, 60), defective=st.integers(0, 60), qualities=st.integers(1, 5), seed=st.integers(0, 2**32 - 1)
)
def test_a_mix_deals_each_class_evenly_to_originals_and_codecs(
    good: int, defective: int, qualities: int, seed: int
) -> None:
    items = [Item(Path(str(n)), "spot" if n < defective else "", None, "train", "") for n in range(good + defective)]
    settings = [Setting(codec, q) for codec in map(load_codec, ("jpeg", "png")) for q in range(1, qualities + 1)]

    mix = versions(items, settings, seed)

    for is_defective in (False, True):
        of_class = [v for v, item in zip(mix, items, strict=True) if item.is_defective == is_defective]
        shares = Counter(version.codec.codec_id if version else "" for version in of_class)
        assert max(shares.values(), default=0) - min((shares[c] for c in ("", "jpeg", "png")), default=0) <= 1
        within = Counter(version.quality for version in of_class if version and version.codec.codec_id == "jpeg")
        assert max(within.values(), default=0) - min((within[s.quality] for s in settings), default=0) <= 1


@given(good=st.integers(0, 80), defective=st.integers(0, 80), most=st.integers(2, 100), seed=st.integers(0, 99))
def test_a_cap_on_train_frames_spares_the_defective(good: int, defective: int, most: int, seed: int) -> None:
    items = [Item(Path(str(n)), "spot" if n < defective else "", None, "train", "") for n in range(good + defective)]

    drawn = train_items(Dataset(Path(), tuple(items)), most, seed)

    assert len(drawn) == min(most, len(items))
    assert sum(item.is_defective for item in drawn) >= min(defective, most // 2)
    assert drawn == sorted(drawn, key=lambda item: int(item.image.name))


# Resumption


def test_a_killed_sweep_goes_on_where_it_was(swept: Sweep, spots: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Killed once some parts were there, it gives the tables of one that was not, and does nothing twice."""
    moment = int(np.random.default_rng().integers(1, 9))
    settings, work = tmp_path / "p.toml", tmp_path / "work"
    settings.write_text(
        f"codecs = {list(SIZES['codecs'])}\nqualities = {list(SIZES['qualities'])}\n"
        'detectors = ["plant-sharpness", "plant-fixed"]\ntarget_false_alarm_rate = 0.1\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(spots), str(settings), str(work)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(PLANT), str(Path(__file__).parents[2])])},
    )
    while process.poll() is None and len(parts(work)) < moment:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in parts(work) if path.name.startswith(("originals", "results"))}
    stored = stored_at(work / ARCHIVE)
    steps: list[Step] = []

    resumed = run(dataset, SHARPNESS, work, steps)

    assert_same(resumed, swept)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert stored.items() <= stored_at(work / ARCHIVE).items()
    assert len(Archive(work / ARCHIVE)) == len(resumed.results)
    measured = sum(path.name.startswith("results") for path in before) * len(resumed.originals)
    assert next(step for step in steps if step[0] == "measure") == ("measure", measured, len(resumed.results))


def test_frames_that_were_archived_but_not_yet_measured_are_not_encoded_again(
    swept: Sweep, dataset: Dataset, work: Path
) -> None:
    stored = stored_at(work / ARCHIVE)
    next(path for path in parts(work) if path.name.startswith("results")).unlink()

    assert_same(run(dataset, SHARPNESS, work), swept)
    assert stored_at(work / ARCHIVE) == stored


def test_a_sweep_that_was_done_is_read_and_not_repeated(swept: Sweep, dataset: Dataset, work: Path) -> None:
    steps: list[Step] = []

    assert_same(run(dataset, SHARPNESS, work, steps), swept)
    assert steps == []


def test_the_built_in_detectors_are_retrained_to_the_same_scores(dataset: Dataset, tmp_path: Path) -> None:
    config = PilotConfig(codecs=("jpeg",), qualities=(40,), scenarios=("frozen",))
    first = run(dataset, config, tmp_path)
    for path in parts(tmp_path):
        path.unlink()

    assert_same(run(dataset, config, tmp_path), first)


def parts(work: Path) -> list[Path]:
    return sorted((work / PARTS).glob("[!.]*.parquet"))


def stored_at(archive: Path) -> dict[tuple[str, str, int], Any]:
    """When each row was stored."""
    if not archive.is_dir():
        return {}
    names = ["frame_id", "codec", "quality", "stored_at"]
    rows = [row for batch in Archive(archive).scan(columns=names) for row in batch.to_pylist()]
    return {(row["frame_id"], row["codec"], row["quality"]): row["stored_at"] for row in rows}


def assert_same(first: Sweep, second: Sweep) -> None:
    for name in ("originals", "results", "thresholds"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)
    assert (first.scored, first.left_out) == (second.scored, second.left_out)


# Decoding once


class CountingCodec:
    """PNG that counts how often it decodes."""

    codec_id, suffix, model = "counting", ".png", ""

    def __init__(self) -> None:
        self._png, self.decodes = load_codec("png"), 0

    def encode(self, image: Any, *, quality: int) -> bytes:
        return self._png.encode(image, quality=quality)

    def decode(self, data: bytes) -> Any:
        self.decodes += 1
        return self._png.decode(data)


def test_frames_of_the_same_content_are_decoded_once_while_there_is_room() -> None:
    codec, frames = CountingCodec(), [np.full((8, 8), grey, np.uint8) for grey in range(4)]
    payloads = [codec.encode(frame, quality=50) for frame in frames]
    roomy, narrow = DecodedFrames(), DecodedFrames(capacity=2 * 64)

    for cache, decodes in ((roomy, 4), (narrow, 8)):
        codec.decodes = 0
        for _ in range(2):
            for frame, payload in zip(frames, payloads, strict=True):
                np.testing.assert_array_equal(cache.decode(codec, payload), frame)
        assert codec.decodes == decodes


# Engines


@pytest.mark.parametrize("name", [EngineName.local, pytest.param(EngineName.ray, marks=pytest.mark.slow)])
def test_other_processes_give_the_same_figures(
    swept: Sweep, dataset: Dataset, tmp_path: Path, name: EngineName
) -> None:
    if name is EngineName.ray:
        pytest.importorskip("ray")
    engine = load_engine(name) if name is EngineName.ray else LocalEngine(2, alone_seconds=0)

    again = sweep(dataset, SHARPNESS, tmp_path, step=lambda *_: None, engine=engine)

    pd.testing.assert_frame_equal(again.originals, swept.originals)
    pd.testing.assert_frame_equal(again.results, swept.results)
    pd.testing.assert_frame_equal(again.thresholds, swept.thresholds)


# Errors


@pytest.mark.parametrize(
    ("detector", "words"),
    [
        ("plant-failing", "detector plant-failing: cannot score a frame: RuntimeError: camera not found"),
        ("plant-nan", "detector plant-nan: gave the score nan, which is not a finite number"),
        ("plant-short", "detector plant-short: gave scores of shape"),
    ],
)
def test_a_detector_that_fails_is_named_in_one_line(
    dataset: Dataset, tmp_path: Path, detector: str, words: str
) -> None:
    with pytest.raises(DetectorError) as raised:
        run(dataset, PilotConfig(codecs=("jpeg",), qualities=(60,), detectors=(detector,)), tmp_path)

    assert str(raised.value).startswith(words)
    assert "\n" not in str(raised.value)


def test_a_detector_without_defects_to_learn_from_is_left_out_or_refused(
    write_dataset: Callable[..., None], tmp_path: Path
) -> None:
    write_dataset(tmp_path / "data", [""] * 60 + ["spot"] * 8, ["train"] * 45 + ["test"] * 23)
    few = split_dataset(read_dataset(tmp_path / "data"))
    sizes: dict[str, Any] = {"codecs": ("jpeg",), "qualities": (60,)}

    swept = run(few, PilotConfig(**sizes, detectors=("plant-trained", "plant-spots")), tmp_path / "work")

    assert swept.left_out == {"plant-trained": TOO_FEW}
    assert {one.detector for one in swept.scored} == {"plant-spots"}
    with pytest.raises(DatasetError, match="plant-trained needs 8 or more"):
        run(few, PilotConfig(**sizes, detectors=("plant-trained",)), tmp_path / "none")
    with pytest.raises(ConfigError, match="jpeg9"):
        run(few, PilotConfig(codecs=("jpeg9",)), tmp_path / "none")
