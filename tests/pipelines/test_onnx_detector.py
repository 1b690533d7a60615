"""ONNX files as detectors: made here with `onnx.helper`, used from the library and on the command line."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluation.pilot_config import PilotConfig, read_pilot_config
from inspect_compress.errors import ConfigError, DetectorError
from inspect_compress.images import write_png
from pipelines.detectors import Detector, load_detector, short_name
from tests.warm import run_warm

onnx = pytest.importorskip("onnx", reason="the tests make their models with the package onnx")
pytest.importorskip("onnxruntime", reason="ONNX models need the extra `onnx`")
from onnx import TensorProto, helper  # noqa: E402

ROOT = Path(__file__).parents[2]
CLI = [sys.executable, "-c", "from inspect_compress.cli import main; main()"]
UNIT = "[input]\nrange = [0, 1]\n"
GREY = np.full((6, 8), 51, np.uint8)
"""A frame of one fifth of white."""

Shape = Sequence[int | str]


def save(
    path: Path,
    nodes: Sequence[Any],
    taken: Shape,
    given: dict[str, Shape],
    *,
    constants: dict[str, Any] | None = None,
    samples: int = TensorProto.FLOAT,
) -> Path:
    """Write a model that takes `x` and gives the outputs named."""
    made = [
        onnx.numpy_helper.from_array(
            np.asarray(value, np.float32 if np.asarray(value).dtype.kind == "f" else np.int64), n
        )
        for n, value in (constants or {}).items()
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", samples, taken)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in given.items()],
        made,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def brightest(path: Path, taken: Shape = ("n", 1, 6, 8)) -> Path:
    """A model whose score, `(n, 1)`, is its input's largest number."""
    nodes = [helper.make_node("ReduceMax", ["x", "axes"], ["score"], keepdims=0)]
    return save(path, nodes, taken, {"score": ("n",)}, constants={"axes": [1, 2, 3]})


def passed_on(path: Path, taken: Shape = ("n", 1, 6, 8), name: str = "anomaly_map") -> Path:
    """A model whose output is its input."""
    return save(path, [helper.make_node("Identity", ["x"], [name])], taken, {name: taken})


def of_classes(path: Path, values: Sequence[float]) -> Path:
    """A model that gives the same numbers for every frame, one per class."""
    nodes = [
        helper.make_node("ReduceMax", ["x", "axes"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "last"], ["column"]),
        helper.make_node("Add", ["column", "values"], ["classes"]),
    ]
    constants = {"axes": [1, 2, 3], "zero": 0.0, "last": [1], "values": list(map(float, values))}
    return save(path, nodes, ("n", 1, 6, 8), {"classes": ("n", len(values))}, constants=constants)


def detector(path: Path, toml: str = UNIT) -> Detector:
    path.with_suffix(".toml").write_text(toml)
    return load_detector(str(path))


# How a frame becomes numbers, and an output a score


@pytest.mark.parametrize(
    ("toml", "score"),
    [
        ("[input]\nrange = [0, 1]", 0.2),
        ("[input]\nrange = [0, 255]", 51),
        ("[input]\nrange = [-1, 1]", -0.6),
        ("[input]\nrange = [0, 1]\nmean = [0.1]\nstd = [0.5]", 0.2),
    ],
)
def test_pixels_become_the_numbers_that_the_toml_says(tmp_path: Path, toml: str, score: float) -> None:
    assert detector(brightest(tmp_path / "m.onnx"), toml).score([GREY]) == pytest.approx([score])


@pytest.mark.parametrize("taken", [("n", 3, 4, 5), ("n", 4, 5, 3), (1, 3, 4, 5)])
@pytest.mark.parametrize(("channels", "score"), [("rgb", 1.0), ("bgr", 3.0)])
def test_layout_and_channels_are_fed_as_the_model_was_trained(
    tmp_path: Path, taken: Shape, channels: str, score: float
) -> None:
    """The model returns the first channel's largest value: red, or blue where it was trained on BGR."""
    image = np.empty((4, 5, 3), np.uint8)
    image[...] = 1, 2, 3
    axis = 1 if taken[1] == 3 else 3
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["channel"], axis=axis),
        helper.make_node("ReduceMax", ["channel", "axes"], ["score"], keepdims=0),
    ]
    path = save(tmp_path / "m.onnx", nodes, taken, {"score": ("n",)}, constants={"first": 0, "axes": [1, 2]})

    assert detector(path, f'[input]\nrange = [0, 255]\nchannels = "{channels}"').score([image]) == pytest.approx(
        [score]
    )


def test_frames_are_resized_and_made_grey_or_rgb_for_the_model(tmp_path: Path) -> None:
    colour = np.zeros((30, 20, 3), np.uint8)
    colour[..., 1] = 100

    grey = detector(brightest(tmp_path / "grey.onnx"), "[input]\nrange = [0, 255]").score([colour, GREY])
    rgb = detector(brightest(tmp_path / "rgb.onnx", ("n", 3, 9, 7)), "[input]\nrange = [0, 255]").score(
        [colour, GREY]
    )

    assert grey == pytest.approx([59, 51])  # green weighs 0.587
    assert rgb == pytest.approx([100, 51])


def test_a_model_of_uint8_gets_the_pixels_as_they_are(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["numbers", "axes"], ["score"], keepdims=0),
    ]
    path = save(
        tmp_path / "m.onnx",
        nodes,
        (1, 1, 6, 8),
        {"score": (1,)},
        constants={"axes": [1, 2, 3]},
        samples=TensorProto.UINT8,
    )

    assert detector(path, "").score([GREY]) == pytest.approx([51])
    with pytest.raises(DetectorError, match="leave range, mean and std out"):
        detector(path, UNIT)


def test_classes_become_the_probability_of_a_defect(tmp_path: Path) -> None:
    logits = of_classes(tmp_path / "logits.onnx", [2.0, 1.0, 0.0])
    shares = of_classes(tmp_path / "shares.onnx", [0.5, 0.3, 0.2])
    weights = np.exp([2.0, 1.0, 0.0])

    two = detector(logits, UNIT + '[output]\nkind = "logits"\ndefective = [1, 2]').score([GREY])
    one = detector(shares, UNIT + '[output]\nkind = "probabilities"\ndefective = [2]').score([GREY])

    assert two == pytest.approx([weights[1:].sum() / weights.sum()])
    assert one == pytest.approx([0.2])


def test_a_heat_map_becomes_its_largest_value(tmp_path: Path) -> None:
    spot = GREY.copy()
    spot[2, 3] = 204

    assert detector(passed_on(tmp_path / "m.onnx")).score([GREY, spot]) == pytest.approx([0.2, 0.8])


def test_of_several_outputs_anomalib_s_score_is_taken_and_another_by_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["anomaly_map"]),
        helper.make_node("ReduceMin", ["x", "axes"], ["pred_score"], keepdims=0),
    ]
    outputs = {"anomaly_map": ("n", 1, 6, 8), "pred_score": ("n",)}
    path = save(tmp_path / "m.onnx", nodes, ("n", 1, 6, 8), outputs, constants={"axes": [1, 2, 3]})
    spot = GREY.copy()
    spot[2, 3] = 204

    assert detector(path).score([spot]) == pytest.approx([0.2])
    assert detector(path, UNIT + '[output]\nname = "anomaly_map"').score([spot]) == pytest.approx([0.8])


@settings(max_examples=25, deadline=None)
@given(images=st.lists(arrays(np.uint8, (6, 8)), min_size=2, max_size=20), place=st.integers(0, 19))
def test_a_score_does_not_depend_on_the_other_frames(
    convolution: Detector, images: list[np.ndarray], place: int
) -> None:
    place %= len(images)

    assert convolution.score(images)[place] == convolution.score([images[place]])[0]


@pytest.fixture(scope="module")
def convolution(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """A small network of any batch size: convolution, ReLU, mean, and a linear layer."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "kernels"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("ReduceMean", ["positive", "axes"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "weights"], ["score"]),
    ]
    constants = {"kernels": rng.normal(size=(64, 1, 3, 3)), "axes": [2, 3], "weights": rng.normal(size=(64, 1))}
    path = tmp_path_factory.mktemp("convolution") / "m.onnx"
    return detector(save(path, nodes, ("n", 1, 6, 8), {"score": ("n", 1)}, constants=constants))


def test_the_fingerprint_changes_with_either_file(tmp_path: Path) -> None:
    first = detector(brightest(tmp_path / "m.onnx"))
    again = detector(tmp_path / "m.onnx")
    other_toml = detector(tmp_path / "m.onnx", "[input]\nrange = [0, 255]")
    other_model = detector(passed_on(tmp_path / "m.onnx"))

    assert first.model == again.model  # type: ignore[attr-defined]
    assert len({found.model for found in (first, other_toml, other_model)}) == 3  # type: ignore[attr-defined]


def test_fitting_changes_nothing_and_no_frame_has_no_score(tmp_path: Path) -> None:
    model = detector(brightest(tmp_path / "m.onnx"))

    assert model.fit([GREY], np.array([False])) is model
    assert not model.needs_defects
    assert not model.trainable  # type: ignore[attr-defined]
    assert model.score([]).shape == (0,)
    assert model.score([GREY]) == pytest.approx([0.2])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_worked_example_scores_as_in_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of docs/detectors.md, as they stand there."""
    torch = pytest.importorskip("torch")
    section = (ROOT / "docs" / "detectors.md").read_text("utf-8").split("### An example")[1]
    export, toml, use = re.findall(r"```(?:python|toml)\n(.*?)```", section, re.DOTALL)[:3]
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/mine.toml").write_text(toml, "utf-8")
    frame = np.random.default_rng(1).integers(0, 256, (128, 128), np.uint8)
    names: dict[str, Any] = {"frame": frame}
    torch.manual_seed(0)

    exec(export + use, names)

    with torch.no_grad():
        logits = names["network"](torch.from_numpy(frame / 255).float()[None, None])
    assert names["detector"].score([frame]) == pytest.approx(logits.softmax(1)[:, 1].tolist(), rel=1e-5)


# Errors, each in one line


def refused(call: Callable[[], object]) -> str:
    with pytest.raises((DetectorError, ConfigError)) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert "m.onnx" in message or "m.toml" in message
    return message


@pytest.mark.parametrize(
    ("taken", "toml", "words"),
    [
        (("n", 1, 6, 8), "[input]\nrange = [0, 1]\nsize = [9, 6]", "takes 8x6 pixels, but .* says 9x6"),
        (("n", 3, 6, 8), '[input]\nrange = [0, 1]\nchannels = "grey"', "takes 3 channels, but .* says grey"),
        (("n", 1, "h", "w"), UNIT, "frames of any size; write size ="),
        (("n", "c", 6, 8), UNIT, "does not tell where the channels are"),
        (("n", 4, 6, 8), '[input]\nrange = [0, 1]\nlayout = "NCHW"', "takes 4 channels; frames have 1 or 3"),
        (("n", 6, 8), UNIT, "four axes are needed"),
        ((8, 1, 6, 8), UNIT, "batches of 8; export it for batches of 1"),
        (("n", 1, 6, 8), "", "write range = "),
        (("n", 1, 6, 8), "[input]\nrange = [0, 1]\nmean = [0, 0, 0]", "has 1 channels, but mean .* has 3"),
        (("n", 1, 6, 8), UNIT + "std = [0]", "greater than 0"),
        (("n", 1, 6, 8), UNIT + "sise = [8, 6]", r"\[input\] sise: is not known; known keys: size"),
        (("n", 1, 6, 8), "range = [0, 1]", "range: is not known"),
        (("n", 1, 6, 8), UNIT + '[output]\nname = "scores"', "has no output 'scores'; known: anomaly_map"),
        (("n", 1, 6, 8), UNIT + '[output]\nkind = "score"', "shape 1×1×6×8 for one frame, which is no score"),
        (("n", 1, 6, 8), UNIT + '[output]\nkind = "logits"', "which is no logits"),
        (("n", 1, 6, 8), UNIT + "[output]\ndefective = [1]", "gives a map, not classes"),
        (("n", 3, 6, 8), UNIT, "write kind ="),
        (("n", 1, 6, 8), "threshold = nan\n" + UNIT, "finite"),
    ],
)
def test_a_model_and_settings_that_do_not_fit_are_refused(
    tmp_path: Path, taken: Shape, toml: str, words: str
) -> None:
    path = passed_on(tmp_path / "m.onnx", taken)

    assert re.search(words, refused(lambda: detector(path, toml)))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "write kind ="),
        ('kind = "logits"', "gives 3 classes; write in"),
        ('kind = "probabilities"\ndefective = [3]', "0 to 2, not all"),
        ('kind = "logits"\ndefective = [0, 1, 2]', "0 to 2, not all"),
    ],
)
def test_classes_need_to_be_told_apart(tmp_path: Path, output: str, words: str) -> None:
    path = of_classes(tmp_path / "m.onnx", [0.0, 1.0, 2.0])

    assert words in refused(lambda: detector(path, f"{UNIT}[output]\n{output}"))


def test_a_model_of_two_inputs_or_unclear_outputs_is_refused(tmp_path: Path) -> None:
    taken = ("n", 1, 6, 8)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, taken) for name in ("a", "b")]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, taken) for name in ("x", "y")]
    two = helper.make_graph([helper.make_node("Add", ["x", "y"], ["a"])], "g", inputs, outputs[:1])
    unclear = [helper.make_node("Identity", ["x"], [name]) for name in ("a", "b")]
    path = tmp_path / "m.onnx"

    save(path, unclear, taken, {"a": taken, "b": taken})
    assert "which: a, b" in refused(lambda: detector(path))
    opsets = [helper.make_opsetid("", 18)]
    path.write_bytes(helper.make_model(two, opset_imports=opsets, ir_version=9).SerializeToString())
    assert "takes 2 inputs (x, y)" in refused(lambda: detector(path))


def test_a_model_whose_output_changes_its_shape_is_refused(tmp_path: Path) -> None:
    """As those that list the objects they found do."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "first"], ["map"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, ("n", 1, 6, 8), {"map": (1, 4, "found")}, constants={"first": [0]})
    model = detector(path)

    assert "gives 1×4×0 for one frame and 1×4×48" in refused(lambda: model.score([np.zeros((6, 8), np.uint8)]))


def test_files_that_are_missing_or_no_models_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"

    assert "there is no such file" in refused(lambda: load_detector(str(path)))
    path.write_bytes(b"not a model")
    assert "needs a file m.toml beside it" in refused(lambda: load_detector(str(path)))
    assert "is not an ONNX model" in refused(lambda: detector(path))
    path.write_bytes(b"")
    assert "is not an ONNX model" in refused(lambda: detector(path))


def test_a_score_that_is_no_number_is_an_error_and_its_cause_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Log", ["x"], ["logarithm"]),
        helper.make_node("ReduceMin", ["logarithm", "axes"], ["score"], keepdims=0),
    ]
    path = save(tmp_path / "m.onnx", nodes, ("n", 1, 6, 8), {"score": ("n",)}, constants={"axes": [1, 2, 3]})
    model = detector(path, "[input]\nrange = [-1, 1]")

    assert "gave the score nan for a frame; check range" in refused(lambda: model.score([GREY]))


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no module')")
    path = brightest(tmp_path / "m.onnx")
    path.with_suffix(".toml").write_text(UNIT)
    program = f"from pipelines.detectors import load_detector; load_detector({str(path)!r})"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert "needs ONNX Runtime; run pip install 'inspect-compress[onnx]'" in done.stderr.splitlines()[-1]


# On the command line


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled set: grey surfaces of level 100 and a little, and a third of them with a white spot."""
    folder = tmp_path_factory.mktemp("surfaces")
    rng = np.random.default_rng(0)
    lines = ["image,defect"]
    for number in range(72):
        image = (100 + rng.normal(0, 4, (32, 32))).astype(np.uint8)
        if number % 3 == 0:
            image[10:16, 10:16] = 200
        write_png(folder / f"{number:02}.png", image)
        lines.append(f"{number:02}.png,{'' if number % 3 else 'spot'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return run_warm(*arguments)


def test_a_run_judges_by_the_model_beside_its_toml(surfaces: Path, tmp_path: Path) -> None:
    """The path is relative to the configuration, and the plant's own threshold is taken."""
    (tmp_path / "models").mkdir()
    model = brightest(tmp_path / "models" / "mine.onnx", (1, 1, 32, 32))
    model.with_suffix(".toml").write_text("threshold = 0.6\n" + UNIT)
    (tmp_path / "line.toml").write_text(
        f'[source]\nkind = "folder"\npath = "{surfaces}"\n[compress]\ncodec = "png"\n[archive]\nuri = "archive"\n'
        f'[detect]\ndetector = "models/mine.onnx"\ntrain = "{surfaces}"\n'
    )

    done = command("run", tmp_path / "line.toml", "--json")

    assert done.returncode == 0, done.stderr
    detections = {d["image"]: d for d in json.loads(done.stdout)["detections"]}
    assert len(detections) == 72
    assert all(found["defective"] == (int(image[:2]) % 3 == 0) for image, found in detections.items())
    assert detections["00.png"]["score"] == pytest.approx(200 / 255)
    assert "score at or above 0.6" in command("run", tmp_path / "line.toml").stdout


def test_a_run_with_an_unfit_model_says_so_in_one_line(surfaces: Path, tmp_path: Path) -> None:
    model = passed_on(tmp_path / "mine.onnx", ("n", 1, 32))
    model.with_suffix(".toml").write_text(UNIT)
    (tmp_path / "line.toml").write_text(
        f'[source]\nkind = "folder"\npath = "{surfaces}"\n[archive]\nuri = "archive"\n'
        f'[detect]\ndetector = "mine.onnx"\ntrain = "{surfaces}"\n'
    )

    done = command("run", tmp_path / "line.toml")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "mine.onnx: takes shape n×1×32; four axes are needed" in done.stderr


def test_a_pilot_measures_the_model_under_its_file_s_name(surfaces: Path, tmp_path: Path) -> None:
    model = brightest(tmp_path / "mine.onnx", ("n", 1, 32, 32))
    model.with_suffix(".toml").write_text("threshold = 0.6\n" + UNIT)
    settings_file = tmp_path / "pilot.toml"
    settings_file.write_text('codecs = ["jpeg"]\nqualities = [90]\ndetectors = ["mine.onnx"]\n')

    done = command("pilot", surfaces, "--out", tmp_path / "out", "--config", settings_file)

    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {kpi["detector"] for kpi in summary["kpis"]} == {"mine"}
    assert summary["kpis"][0]["recall"] == 1.0
    results = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert results["score_mine"].between(0, 1).all()
    assert summary["detectors"]["thresholds"] == {"mine": 0.6}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "The plant&#39;s own, as it came with the detector" in page
    assert "trained on originals only" not in page.split('<nav class="tabs"')[0]


def test_a_path_is_relative_to_the_settings_or_else_to_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "pilot.toml").write_text('detectors = ["models/mine.onnx", "anomaly"]')

    assert read_pilot_config(tmp_path / "pilot.toml").detectors == (f"{tmp_path}/models/mine.onnx", "anomaly")
    assert PilotConfig(detectors=("mine.onnx",)).detectors == (str(Path.cwd() / "mine.onnx"),)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    settings_file = tmp_path / "pilot.toml"
    settings_file.write_text('detectors = ["a/mine.onnx", "b/mine.onnx"]\n')

    done = command("pilot", tmp_path, "--out", tmp_path / "out", "--config", settings_file)

    assert done.returncode == 1
    assert "has two detectors of the name mine" in done.stderr


def test_names_in_tables_are_short() -> None:
    assert short_name("models/mine.onnx") == "mine"
    assert short_name("classifier") == "classifier"
