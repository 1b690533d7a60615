"""`inspect-compress run`, as a user runs it: real files, real processes."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable, write_deltalake

from inspect_compress.codecs import load_codec
from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.images import read_image, write_png
from pipelines.archive import ADDED, Archive, ArchivedFrame, Verdicts
from pipelines.governance.audit import AuditLog
from tests.warm import run_warm

ROOT = Path(__file__).parents[2]
PLANT = Path(__file__).parent / "plant"
CLI = [sys.executable, "-c", "from inspect_compress.cli import main; main()"]


def surface(number: int, *, defective: bool = False) -> np.ndarray:
    """A bright, slightly noisy surface; a defect is a dark scratch."""
    image = np.random.default_rng(number).normal(170, 4, (48, 64)).clip(0, 255).astype(np.uint8)
    if defective:
        image[20:30, 5:60] = 20
    return image


def line(
    folder: Path,
    *,
    codec: str = "jpeg",
    quality: int = 80,
    compress: str = "",
    detect: str = "",
    archive: str = "archive",
) -> Path:
    config = folder / "line.toml"
    config.write_text(
        '[source]\nkind = "folder"\npath = "frames"\nline = "L1"\n'
        f'[compress]\ncodec = "{codec}"\nquality = {quality}\n{compress}[archive]\nuri = "{archive}"\n{detect}'
    )
    return config


def frames(folder: Path, count: int) -> None:
    for number in range(count):
        write_png(folder / "frames" / f"{number:03}.png", surface(number, defective=number == 1))


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return run_warm("run", *arguments, env=os.environ | {"PYTHONPATH": str(PLANT)})


def run_json(config: Path) -> dict[str, Any]:
    done = run(config, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_frames_are_stored_once_and_the_second_run_says_so(tmp_path: Path) -> None:
    frames(tmp_path, 3)
    config = line(tmp_path)

    first = run_json(config)
    second = run(config)

    assert first["frames"] == {"captured": 3, "stored": 3, "already_stored": 0, "failed": 0}
    archived = list(Archive(tmp_path / "archive", create=False).frames())
    files = sum(path.stat().st_size for path in (tmp_path / "frames").iterdir())
    stored = sum(len(record.payload) for record in archived)
    assert first["bytes"] == {"source_files": files, "raw": 3 * 48 * 64, "stored": stored}
    assert first["mean_psnr"] == pytest.approx(np.mean([record.psnr for record in archived]))
    assert first["detections"] == first["failures"] == []
    assert first["archive"] == str(tmp_path / "archive")
    assert {record.line for record in archived} == {"L1"}
    assert second.returncode == 0
    assert "3 captured, 0 stored, 3 already stored, 0 failed" in second.stdout
    assert len(Archive(tmp_path / "archive")) == 3


def test_a_detector_judges_what_was_read_back(tmp_path: Path) -> None:
    frames(tmp_path, 3)
    labels = ["image,defect"]
    for number in range(80):
        defective = number >= 60
        write_png(tmp_path / "labelled" / f"{number}.png", surface(100 + number, defective=defective))
        labels.append(f"{number}.png,{'scratch' if defective else ''}")
    (tmp_path / "labelled" / "labels.csv").write_text("\n".join(labels))
    config = line(tmp_path, detect='[detect]\ndetector = "anomaly"\ntrain = "labelled"\n')

    detections = run_json(config)["detections"]

    assert [verdict["image"] for verdict in detections] == ["000.png", "001.png", "002.png"]
    assert detections[1]["defective"]
    assert detections[1]["score"] > max(detections[0]["score"], detections[2]["score"])


def test_an_unreadable_frame_is_listed_and_the_rest_is_stored(tmp_path: Path) -> None:
    frames(tmp_path, 2)
    (tmp_path / "frames" / "broken.png").write_bytes(b"no picture")

    done = run(line(tmp_path), "--json")

    result = json.loads(done.stdout)
    assert done.returncode == 1
    assert done.stderr == ""
    assert result["frames"] == {"captured": 2, "stored": 2, "already_stored": 0, "failed": 1}
    assert result["failures"][0]["image"] == "broken.png"
    assert "broken.png" in result["failures"][0]["reason"]


@pytest.mark.parametrize(("codec", "quality"), [("png", 60), ("jxl", 100)])
def test_12_bits_go_through_the_whole_chain_and_nothing_is_lost(tmp_path: Path, codec: str, quality: int) -> None:
    deep = {f"{n:03}.png": surface(n, defective=n == 1).astype(np.uint16) * 16 + n for n in range(3)}
    for name, image in deep.items():
        write_png(tmp_path / "frames" / name, image)
    labels = ["image,defect"]
    for number in range(80):
        defective = number >= 60
        image = surface(100 + number, defective=defective).astype(np.uint16) * 16
        write_png(tmp_path / "labelled" / f"{number}.png", image)
        labels.append(f"{number}.png,{'scratch' if defective else ''}")
    (tmp_path / "labelled" / "labels.csv").write_text("\n".join(labels))
    detect = '[detect]\ndetector = "anomaly"\ntrain = "labelled"\n'

    result = run_json(line(tmp_path, codec=codec, quality=quality, detect=detect))

    assert result["frames"]["stored"] == 3
    assert result["bytes"]["raw"] == 3 * 48 * 64 * 2
    assert result["mean_psnr"] is None
    assert [verdict["defective"] for verdict in result["detections"]][1]
    records = {record.meta["path"]: record for record in Archive(tmp_path / "archive").frames()}
    assert records.keys() == deep.keys()
    for name, image in deep.items():
        record = records[name]
        np.testing.assert_array_equal(load_codec(codec).decode(record.payload), image)
        assert (record.bit_depth, record.channels, record.psnr) == (12, 1, None)
        assert record.pixels_sha256 == hashlib.sha256(image.astype("<u2").tobytes()).hexdigest()


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
def test_a_run_that_was_killed_is_completed_by_running_again(tmp_path: Path) -> None:
    frames(tmp_path, 200)
    config = line(tmp_path, codec="png")
    log = tmp_path / "archive" / "_delta_log"

    with subprocess.Popen([*CLI, "run", str(config)], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (log / f"{1:020}.json").exists():
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    before = len(Archive(tmp_path / "archive", create=False))
    result = run_json(config)

    assert before in (64, 128, 192)
    assert result["frames"] == {
        "captured": 200,
        "stored": 200 - before,
        "already_stored": before,
        "failed": 0,
    }
    stored = [record.frame_id for record in Archive(tmp_path / "archive").frames()]
    assert len(stored) == len(set(stored)) == 200


def test_two_runs_at_once_store_each_frame_once(tmp_path: Path) -> None:
    frames(tmp_path, 100)
    config = line(tmp_path)

    runs = [subprocess.Popen([*CLI, "run", str(config), "--json"], stdout=subprocess.PIPE) for _ in range(2)]
    results = [json.loads(process.communicate(timeout=300)[0]) for process in runs]

    assert sum(result["frames"]["stored"] for result in results) == 100
    assert len(list(Archive(tmp_path / "archive").frames())) == 100


def rows(folder: Path) -> dict[str, ArchivedFrame]:
    """The archive's rows by the name of their file."""
    return {record.meta["path"]: record for record in Archive(folder / "archive", create=False).frames()}


def flat(level: int) -> np.ndarray:
    return np.random.default_rng(level).integers(level - 2, level + 3, (24, 32), dtype=np.uint8)


def test_wrong_pixels_are_found_before_they_are_stored_and_the_row_says_so(tmp_path: Path) -> None:
    write_png(tmp_path / "frames" / "bright.png", flat(200))
    write_png(tmp_path / "frames" / "grey.png", flat(100))
    config = line(tmp_path, codec="wrong-pixels", quality=60)

    first, second = run_json(config), run_json(config)

    assert first["frames"] == {"captured": 2, "stored": 2, "already_stored": 0, "failed": 0}
    assert second["frames"] == {"captured": 2, "stored": 0, "already_stored": 2, "failed": 0}
    bright, grey = rows(tmp_path)["bright.png"], rows(tmp_path)["grey.png"]
    assert (bright.codec, bright.quality, bright.asked_codec, bright.asked_quality) == (
        "wrong-pixels",
        88,
        "wrong-pixels",
        60,
    )
    assert "wrong-pixels at quality 60: decodes to other pixels than what its encoder saw" in bright.fallback
    assert "wrong-pixels at quality 74: decodes to other pixels" in bright.fallback
    assert (grey.quality, grey.fallback, grey.asked_codec) == (60, "", "")
    assert first["fallbacks"] == second["fallbacks"]
    assert first["fallbacks"] == [
        {"image": "bright.png", "codec": "wrong-pixels", "quality": 88, "reason": bright.fallback}
    ]
    assert "bright.png: stored by wrong-pixels at quality 88; " in run(config).stdout


def test_a_codec_that_raises_costs_no_frame(tmp_path: Path) -> None:
    images = {"bright.png": flat(200), "dark.png": flat(20), "grey.png": flat(100)}
    for name, image in images.items():
        write_png(tmp_path / "frames" / name, image)

    result = run_json(line(tmp_path, codec="raising", quality=90, compress='lossless = "png"\n'))

    assert result["frames"]["stored"] == 3
    stored = rows(tmp_path)
    assert {name: row.codec for name, row in stored.items()} == {
        "bright.png": "png",
        "dark.png": "png",
        "grey.png": "raising",
    }
    assert "the decoder has lost step" in stored["bright.png"].fallback
    assert stored["dark.png"].fallback.startswith("raising at quality 90: RuntimeError: too dark; ")
    for name in ("bright.png", "dark.png"):
        np.testing.assert_array_equal(load_codec("png").decode(stored[name].payload), images[name])


def test_a_floor_holds_for_every_row(tmp_path: Path) -> None:
    frames(tmp_path, 6)

    run_json(line(tmp_path, quality=5, compress="min_psnr = 40\nmin_ms_ssim = 0.95\n"))

    for name, row in rows(tmp_path).items():
        original, decoded = read_image(tmp_path / "frames" / name), load_codec(row.codec).decode(row.payload)
        assert psnr(original, decoded) >= 40
        assert ms_ssim(original, decoded) >= 0.95
        assert "jpeg at quality 5: PSNR is " in row.fallback
        assert row.asked_quality == 5


def test_what_is_not_verified_is_stored_as_it_comes(tmp_path: Path) -> None:
    write_png(tmp_path / "frames" / "bright.png", flat(200))

    run_json(line(tmp_path, codec="wrong-pixels", quality=60, compress="verify = false\n"))

    assert (rows(tmp_path)["bright.png"].quality, rows(tmp_path)["bright.png"].fallback) == (60, "")


def test_qarv_leaves_12_bits_to_the_lossless_codec_once(tmp_path: Path) -> None:
    deep = surface(1).astype(np.uint16) * 16
    write_png(tmp_path / "frames" / "deep.png", deep)
    write_png(tmp_path / "frames" / "plain.png", surface(2))
    config = line(tmp_path, codec="qarv", quality=60)

    run_json(config)
    second = run_json(config)

    stored = rows(tmp_path)
    assert second["frames"]["already_stored"] == 2
    assert (stored["plain.png"].codec, stored["plain.png"].fallback) == ("qarv", "")
    assert (stored["deep.png"].codec, stored["deep.png"].quality, stored["deep.png"].bit_depth) == ("jxl", 100, 12)
    assert stored["deep.png"].fallback.startswith("qarv at quality 60: image: has 12 bits per sample")
    np.testing.assert_array_equal(load_codec("jxl").decode(stored["deep.png"].payload), deep)


def test_a_fallback_to_a_row_that_is_there_already_is_read_back_from_it(tmp_path: Path) -> None:
    deep = surface(1).astype(np.uint16) * 16
    write_png(tmp_path / "frames" / "deep.png", deep)
    run_json(line(tmp_path, codec="jxl", quality=100))

    result = run_json(line(tmp_path, codec="jpeg", quality=60))

    assert result["frames"] == {"captured": 1, "stored": 0, "already_stored": 1, "failed": 0}


def test_the_policy_chooses_by_audit_verdict_and_product(tmp_path: Path) -> None:
    levels = {"1": 200, "2": 100, "3": 200, "4": 100, "5": 10, "6": 30, "7": 100}
    for name, level in levels.items():
        write_png(tmp_path / "frames" / f"{name}.png", flat(level))
    labels = ["image,defect"]
    for number in range(80):
        write_png(tmp_path / "labelled" / f"{number}.png", flat(100 + (number >= 60) * 100))
        labels.append(f"{number}.png,{'burnt' if number >= 60 else ''}")
    (tmp_path / "labelled" / "labels.csv").write_text("\n".join(labels))
    detect = '[detect]\ndetector = "bright"\ntrain = "labelled"\n'
    policy = "[policy]\naudit_every = 3\nsuspect = 95\n[policy.products]\ncup = 50\n"
    config = line(tmp_path, detect=detect + policy)
    config.write_text(config.read_text().replace('line = "L1"', 'line = "L1"\nproduct = "cup"'))

    first, second = run(config, "--json"), run(config)

    chosen = {name[0]: (row.rule, row.codec, row.quality) for name, row in rows(tmp_path).items()}
    assert chosen == {
        "1": ("suspect", "jpeg", 95),
        "2": ("product", "jpeg", 50),
        "3": ("audit", "jxl", 100),
        "4": ("product", "jpeg", 50),
        "5": ("unscored", "jpeg", 95),
        "6": ("audit", "jxl", 100),
        "7": ("product", "jpeg", 50),
    }
    result = json.loads(first.stdout)
    assert result["rules"] == {"audit": 2, "product": 3, "suspect": 1, "unscored": 1}
    assert result["frames"]["stored"] == 7
    failures = {failure["image"]: failure["reason"] for failure in result["failures"]}
    assert failures == {
        "5.png": "the detector cannot score this frame: ZeroDivisionError: black",
        "6.png": "the detector's score is nan, not a finite number",
    }
    assert first.returncode == second.returncode == 1
    assert "Traceback" not in first.stderr + second.stderr
    assert "2 audit, 3 product, 1 suspect, 1 unscored" in second.stdout
    assert "0 stored, 7 already stored" in second.stdout


def test_the_example_of_a_policy_runs_on_sample_frames(tmp_path: Path) -> None:
    with (ROOT / "sample_data" / "labels.csv").open(newline="") as file:
        labelled = list(csv.DictReader(file))
    wanted = {("train", False): 12, ("calibration", False): 12, ("test", False): 6, ("test", True): 6}
    kept = []
    for row in labelled:
        kind = row["split"], bool(row["defect"])
        if wanted.get(kind, 0):
            wanted[kind] -= 1
            kept.append(row["image"])
            (tmp_path / "sample_data" / row["image"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "sample_data" / row["image"], tmp_path / "sample_data" / row["image"])
    chosen = [row | {"mask": ""} for row in labelled if row["image"] in kept]
    with (tmp_path / "sample_data" / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(chosen[0]))
        writer.writeheader()
        writer.writerows(chosen)
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "policy.toml", tmp_path / "examples")

    result = run_json(tmp_path / "examples" / "policy.toml")

    records = list(Archive(tmp_path / "archive-policy", create=False).frames())
    assert result["frames"]["stored"] == len(records) == 36
    audited = [record for record in records if record.rule == "audit"]
    names = sorted(path.relative_to(tmp_path / "sample_data/images").as_posix() for path in _pngs(tmp_path))
    assert sorted(record.meta["path"] for record in audited) == names[9::10]
    assert all((record.codec, record.psnr) == ("jxl", None) for record in audited)
    asked = {record.rule: record.asked.quality for record in records}
    assert {"audit": 100, "good": 45}.items() <= asked.items() <= {"audit": 100, "good": 45, "suspect": 90}.items()
    assert all(record.psnr is None or record.psnr >= 32 for record in records)


def _pngs(folder: Path) -> list[Path]:
    return list((folder / "sample_data" / "images").rglob("*.png"))


def test_an_archive_from_before_the_guard_is_completed(tmp_path: Path) -> None:
    frames(tmp_path, 2)
    run_json(line(tmp_path, archive="new"))
    table = DeltaTable(tmp_path / "new").to_pyarrow_table()
    old = table.select([name for name in table.column_names if name not in ADDED])
    write_deltalake(tmp_path / "archive", old, partition_by=["date", "line"])
    write_png(tmp_path / "frames" / "new.png", surface(9))

    result = run_json(line(tmp_path))

    assert result["frames"] == {"captured": 3, "stored": 1, "already_stored": 2, "failed": 0}
    assert {name: row.rule for name, row in rows(tmp_path).items()} == {
        "000.png": "",
        "001.png": "",
        "new.png": "default",
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"codec": "jpg"}, "[compress] codec"),
        ({"detect": '[detect]\ndetector = "anomaly"\ntrain = "nowhere"\n'}, "nowhere"),
        ({"archive": "frames"}, "other files"),
        ({"detect": "[policy]\nsuspect = 90\n"}, "[detect]"),
    ],
)
def test_a_mistake_is_one_line_and_stores_nothing(tmp_path: Path, change: dict[str, str], says: str) -> None:
    frames(tmp_path, 1)

    done = run(line(tmp_path, **change), "--json")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "line.toml"]


def test_a_frame_that_makes_a_codec_fail_is_a_row_of_the_ledger_and_the_others_are_stored(tmp_path: Path) -> None:
    write_png(tmp_path / "frames" / "dark.png", flat(20))
    write_png(tmp_path / "frames" / "grey.png", flat(100))

    done = run(line(tmp_path, codec="raising", quality=90, compress="verify = false\n"), "--json")

    result = json.loads(done.stdout)
    assert done.returncode == 1
    assert result["failures"] == [{"image": "dark.png", "reason": "RuntimeError: too dark"}]
    assert {name: result["ledger"][name] for name in ("captured", "stored", "failed")} == {
        "captured": 2,
        "stored": 1,
        "failed": 1,
    }


def test_begin_and_end_of_a_run_are_in_the_audit_log_and_verdicts_beside_the_archive(tmp_path: Path) -> None:
    frames(tmp_path, 3)
    labels = ["image,defect"]
    for number in range(80):
        write_png(tmp_path / "labelled" / f"{number}.png", surface(100 + number, defective=number >= 60))
        labels.append(f"{number}.png,{'scratch' if number >= 60 else ''}")
    (tmp_path / "labelled" / "labels.csv").write_text("\n".join(labels))
    config = line(tmp_path, detect='[detect]\ndetector = "anomaly"\ntrain = "labelled"\n')

    result = run_json(config)

    log = AuditLog(str(tmp_path / "archive"))
    begun, ended = log.entries()
    assert log.verify() == []
    assert (begun.action, ended.action) == ("run started", "run ended")
    assert begun.details["config_sha256"] == hashlib.sha256(config.read_bytes()).hexdigest()
    assert (ended.details["run"]["stored"], ended.details["error"]) == (3, "")
    verdicts = {verdict.frame_id: verdict for verdict in Verdicts(str(tmp_path / "archive")).latest()}
    for shown in result["detections"]:
        kept = verdicts[shown["frame_id"]]
        assert (kept.score, kept.defective, kept.detector) == (shown["score"], shown["defective"], "anomaly")
        assert (kept.line, kept.codec) == ("L1", "jpeg")
    assert len(verdicts) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_folder_that_is_not_finished_says_so(tmp_path: Path) -> None:
    frames(tmp_path, 400)
    config = line(tmp_path, codec="jxl", quality=90)

    with subprocess.Popen([*CLI, "run", str(config)], stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (tmp_path / "archive" / "_delta_log" / f"{1:020}.json").exists():
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=10)

    assert process.returncode == 1
    assert "ended before the source did; run again for the rest" in output
    result = run_json(config)
    assert 0 < result["frames"]["stored"] < 400
    assert result["ledger"]["stored"] == 400


def test_a_frame_that_was_let_go_is_not_stored_again(tmp_path: Path) -> None:
    frames(tmp_path, 3)
    config = line(tmp_path)
    run_json(config)
    (tmp_path / "policy.toml").write_text('[[rule]]\nname = "all"\nkeep_days = 0\n')
    expired = subprocess.run(
        [*CLI, "archive", "expire", str(tmp_path / "archive"), "--policy", str(tmp_path / "policy.toml")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    write_png(tmp_path / "frames" / "new.png", surface(9))

    result = run_json(config)

    assert expired.returncode == 0, expired.stderr
    assert result["frames"] == {"captured": 4, "stored": 1, "already_stored": 3, "failed": 0}
    assert set(rows(tmp_path)) == {"new.png"}
    assert result["ledger"]["stored"] == 4
