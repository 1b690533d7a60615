"""Hostile inputs: what declares or holds more than is taken, and what names a place outside its own."""

import hashlib
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from inspect_compress.cli import main
from inspect_compress.codecs import load_codec
from inspect_compress.errors import (
    ConfigError,
    DamagedFileError,
    DatasetError,
    DetectorError,
    ImageError,
    SpoolError,
)
from inspect_compress.files import FILE_BYTES, TEXT_BYTES
from inspect_compress.images import read_image
from pipelines.archive import Archive, ArchivedFrame
from pipelines.archive.export import Form, export
from pipelines.archive.schema import SCHEMA, row_of
from pipelines.archive.selection import Selection
from pipelines.archive.verify import check_row
from pipelines.config import read_config
from pipelines.datasets import read_dataset
from pipelines.datasets.items import Item
from pipelines.datasets.masks import read_mask
from pipelines.detectors import load_detector
from pipelines.detectors.onnx import MODEL_BYTES, OnnxDetector
from pipelines.flow.spool import Spool
from pipelines.frame import Frame

SIDE = 16000
"""Of what is declared: 768 MB of pixels; WebP can declare no more than 16383."""


def jpeg(data: bytes) -> bytes:
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", SIDE, SIDE) + data[place + 4 :]


def png(data: bytes) -> bytes:
    head = b"IHDR" + struct.pack(">II", SIDE, SIDE) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def jpeg2000(data: bytes) -> bytes:
    return data[:8] + struct.pack(">IIIIII", SIDE, SIDE, 0, 0, SIDE, SIDE) + data[32:]


def webp(data: bytes) -> bytes:
    return data[:26] + struct.pack("<HH", SIDE, SIDE) + data[30:]


def avif(data: bytes) -> bytes:
    place = data.index(b"ispe") + 8
    return data[:place] + struct.pack(">II", SIDE, SIDE) + data[place + 8 :]


def jxl(data: bytes) -> bytes:
    bits = 0 | 2 << 1 | (SIDE - 1) << 3 | 1 << 21  # not small, 18 bits of height, as wide as high
    return data[:2] + (bits | 1 << 24).to_bytes(4, "little") + data[6:]


@pytest.mark.parametrize(
    "declaring", [jpeg, png, jpeg2000, webp, avif, jxl], ids=lambda declaring: declaring.__name__
)
def test_a_file_that_declares_more_pixels_than_are_taken_is_refused_before_room_is_made(
    declaring: Callable[[bytes], bytes],
) -> None:
    codec = load_codec(declaring.__name__)
    data = codec.encode(np.full((64, 64, 3), 90, np.uint8), quality=60)

    with pytest.raises(DamagedFileError, match=f"declares {SIDE}x{SIDE} pixels; sides must be 1 to 8192"):
        codec.decode(declaring(data))


@pytest.mark.parametrize("name", ["jpeg", "png", "jpeg2000", "webp", "avif", "jxl"])
def test_the_first_bytes_of_a_file_are_never_a_traceback(name: str) -> None:
    codec = load_codec(name)
    data = codec.encode(np.full((20, 30), 90, np.uint8), quality=60)

    for length in [*range(80), *range(80, len(data), 97)]:
        with pytest.raises(DamagedFileError):
            codec.decode(data[: min(length, len(data) - 1)])


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_a_file_that_is_larger_than_any_picture_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"large\.png: cannot be read: has more than 256 MiB"):
        read_image(sparse(tmp_path / "large.png", FILE_BYTES + 1))


def test_settings_and_tables_have_a_limit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line\.toml: cannot be read: has more than 64 MiB"):
        read_config(sparse(tmp_path / "line.toml", TEXT_BYTES + 1))
    with pytest.raises(DatasetError, match=r"labels\.csv: cannot be read: has more than 64 MiB"):
        read_dataset(sparse(tmp_path / "labels.csv", TEXT_BYTES + 1))


def test_a_detector_has_a_limit(tmp_path: Path) -> None:
    (tmp_path / "model.toml").touch()
    with pytest.raises(DetectorError, match=r"model\.onnx: cannot be read: has more than 1024 MiB"):
        OnnxDetector(sparse(tmp_path / "model.onnx", MODEL_BYTES + 1))


def test_settings_that_are_nested_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "line.toml"
    path.write_text("a = " + "[" * 10_000 + "]" * 10_000)

    with pytest.raises(ConfigError, match="nested too deeply"):
        read_config(path)


def test_a_mask_that_is_a_program_is_not_run(tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    mask.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(ran) print\nshowpage\n")

    with pytest.raises(DatasetError, match=r"mask\.png: the mask cannot be read: cannot identify"):
        read_mask(Item(tmp_path / "frame.png", "scratch", mask, "", ""), (10, 10))


@pytest.mark.parametrize("place", ["../secret.bin", "sub/../../secret.bin", "link.bin", "absolute"])
def test_an_onnx_model_reads_no_file_outside_its_folder(tmp_path: Path, place: str) -> None:
    onnx: Any = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (tmp_path / "secret.bin").write_bytes(np.ones(1, np.float32).tobytes())
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "link.bin").symlink_to("../secret.bin")
    path = tmp_path / "model" / "model.onnx"
    path.write_bytes(model_with_weights_at(onnx, str(tmp_path / "secret.bin") if place == "absolute" else place))
    path.with_suffix(".toml").write_text("[input]\nrange = [0, 1]\n")

    with pytest.raises(DetectorError, match="External data path"):
        load_detector(str(path))


def model_with_weights_at(onnx: Any, place: str) -> bytes:
    """An ONNX file of one addition, whose weight lies in another file."""
    kind = onnx.TensorProto.FLOAT
    weight = onnx.TensorProto(name="w", dims=[1], data_type=kind, data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=place)
    weight.external_data.add(key="length", value="4")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "w"], ["y"])],
        "graph",
        [onnx.helper.make_tensor_value_info("x", kind, [1, 1, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", kind, [1, 1, 8, 8])],
        [weight],
    )
    opset = onnx.helper.make_opsetid("", 17)
    return bytes(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString())


PLACES = ["../../outside", "/outside", "..\\outside", "a\0b", "con", ".", "..", "", "x" * 5000, "\x1b[2Jname\n"]


@pytest.mark.parametrize("form", list(Form))
def test_no_name_of_a_frame_leads_out_of_the_folder_of_an_export(tmp_path: Path, form: Form) -> None:
    archive = Archive(tmp_path / "archive")
    archive.append(
        stored(f"{number}{place}", line=place[:60], station=place, camera=place, meta={"path": place + ".png"})
        for number, place in enumerate(PLACES)
    )
    archive.append([stored("unknown codec", codec="../png")])

    done = export(archive, Selection(), tmp_path / "deep" / "down" / "out", form=form)

    assert (done.files, [key.frame_id for key, _ in done.failures]) == (len(PLACES), ["unknown codec"])
    assert len(list((tmp_path / "deep" / "down" / "out").iterdir())) == len(PLACES) + 1
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "deep"}
    assert [path.name for path in (tmp_path / "deep").rglob("*")][:2] == ["down", "out"]


@pytest.mark.parametrize("meta", ["[[[", "[1]", '{"path": 5}', "[" * 100_000, ""], ids=lambda meta: meta[:12])
def test_a_row_whose_meta_is_something_else_is_named_and_the_others_are_read(tmp_path: Path, meta: str) -> None:
    archive = Archive(tmp_path)
    archive.append([stored("sound")])
    row = row_of(stored("odd"), datetime.now(UTC)) | {"meta": meta}
    write_deltalake(tmp_path, pa.Table.from_pylist([row], schema=SCHEMA), mode="append")
    damaged: list[str] = []

    found = list(archive.frames(on_damaged=lambda key, error: damaged.append(f"{key.frame_id}: {error}")))

    assert [record.frame_id for record in found] == ["sound"]
    assert damaged == ["odd: frame odd: its meta is not a JSON object of texts; restore it from a copy"]
    assert "its meta is not a JSON object" in check_row(row)


def stored(frame_id: str, **changes: Any) -> ArchivedFrame:
    pixels = np.full((20, 30), 9, np.uint8)
    plain = ArchivedFrame(
        frame_id=frame_id,
        captured_at=datetime(2027, 1, 1, tzinfo=UTC),
        codec="png",
        model="",
        quality=1,
        width=30,
        height=20,
        channels=1,
        payload=load_codec("png").encode(pixels, quality=1),
        pixels_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
    )
    return replace(plain, **changes)


def test_a_spooled_file_that_was_made_to_do_harm_is_set_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "own", most_bytes=10**9, free_bytes=0)
    frame = Frame(np.zeros((4, 4), np.uint8), "part", datetime(2027, 1, 1, tzinfo=UTC))
    head = b"[" * 100_000
    nested = struct.pack("<8sIIQ", b"ICSPOOL1", len(head), 0, 0) + head

    for hostile in (nested + struct.pack("<I", google_crc32c.value(nested)), None):
        name = spool.put(frame)
        (path,) = tmp_path.glob("own/*.frame")
        path.write_bytes(hostile) if hostile else sparse(path, FILE_BYTES + 1)
        with pytest.raises(SpoolError, match=r"\.damaged: .*(does not describe a frame|has more than 256 MiB)"):
            spool.get(name)
    assert not list(tmp_path.glob("own/*.frame"))


STRANGER = """
import sys, ray
ray.init(sys.argv[1], logging_level="critical")
"""
HOST = """
import os, subprocess, sys
from pipelines.engines import EngineName, load_engine

load_engine(EngineName.ray)
import ray

ray.init("local", num_cpus=1, include_dashboard=False, object_store_memory=2**27, logging_level="critical")
address = ray.get_runtime_context().gcs_address
own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
stranger = subprocess.run([sys.executable, "-c", sys.argv[1], address], env=own, capture_output=True, text=True)
print(stranger.returncode, "uthentication" in stranger.stderr)
"""


@pytest.mark.slow
def test_a_ray_that_is_started_here_refuses_others_on_the_network() -> None:
    pytest.importorskip("ray")

    host = subprocess.run([sys.executable, "-c", HOST, STRANGER], capture_output=True, text=True, timeout=120)

    assert host.stdout == "1 True\n", host.stderr


def test_a_name_that_would_steer_the_terminal_is_shown_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "\x1b[2J\x1b]0;owned\x07.png"
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / name).write_bytes(b"no picture")
    (tmp_path / "line.toml").write_text(
        '[source]\nkind = "folder"\npath = "frames"\n[compress]\ncodec = "jpeg"\n[archive]\nuri = "archive"\n'
    )
    monkeypatch.chdir(tmp_path)

    for command, status in ([["run", "line.toml"], 1], [["ledger", "line.toml"], 0], [["info", f"frames/{name}"], 1]):
        monkeypatch.setattr(sys, "argv", ["inspect-compress", *command])
        with pytest.raises(SystemExit) as ended:
            main()
        said = "".join(capsys.readouterr())
        assert (command[0], ended.value.code) == (command[0], status)
        assert r"\x1b[2J\x1b]0;owned\x07.png" in said
        assert "\x1b" not in said
