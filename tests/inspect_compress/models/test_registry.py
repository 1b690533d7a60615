"""The registry as the codec uses it: what is in it decodes for good, and encodes as long as it may."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from inspect_compress import load_codec
from inspect_compress.errors import ConfigError, ModelError, UnknownModelError
from inspect_compress.models.card import read_curve
from inspect_compress.models.entry import Gate, Retirement
from inspect_compress.models.registry import Registry, check_admitted, examine, registry
from inspect_compress.qarv.weights import FOLDER, default_fingerprint
from tests.models_for_tests import make_model

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
IMAGE = np.random.default_rng(1).normal(0, 2, (60, 70)).cumsum(axis=1).clip(-99, 99).astype(np.int8).view(np.uint8)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An empty registry, which this process uses."""
    monkeypatch.setenv("INSPECT_COMPRESS_MODELS", str(tmp_path / "models"))
    return registry()


@pytest.fixture
def added(models: Registry, tmp_path: Path) -> str:
    weights, card, fingerprint = make_model(tmp_path, note=tmp_path.name)  # a loaded model stays in memory
    models.add(examine(weights, card, by="mori@plant", at=NOW))
    return fingerprint


def gate(quality: int) -> Gate:
    return Gate(at=NOW, by="mori@plant", kind="pilot", quality=quality)


def test_an_added_model_encodes_and_decodes_by_its_name(models: Registry, added: str) -> None:
    codec = load_codec("qarv", model=added[:10])
    data = codec.encode(IMAGE, quality=60)
    assert codec.model == added
    assert bytes.fromhex(added[:8]) in data
    assert load_codec("qarv").decode(data).shape == IMAGE.shape
    (entry,) = models.entries()
    assert (entry.fingerprint, entry.added_by, entry.added_at) == (added, "mori@plant", NOW)
    assert entry.curve[3].model_dump() == {"quality": 60, "bpp": 0.281, "psnr": 44.57}


def test_a_retired_model_decodes_and_encodes_no_more(models: Registry, added: str) -> None:
    data = load_codec("qarv", model=added).encode(IMAGE, quality=60)
    decoded = load_codec("qarv").decode(data)

    models.retire(added, Retirement(at=NOW, by="sato@plant", reason="a better one is in use"))

    np.testing.assert_array_equal(load_codec("qarv").decode(data), decoded)
    with pytest.raises(ModelError, match=r"retired on 2027-03-01 by sato@plant \(a better one is in use\)"):
        load_codec("qarv", model=added)
    with pytest.raises(ModelError, match="was retired"):
        check_admitted(added, 60)
    with pytest.raises(ModelError, match="was retired"):
        models.retire(added, Retirement(at=NOW, by="sato@plant", reason="again"))


def test_a_line_may_use_what_a_gate_admits(models: Registry, added: str) -> None:
    with pytest.raises(ModelError, match="has passed no gate"):
        check_admitted(added, 100)
    models.admit(added, gate(60))
    check_admitted(added, 60)
    with pytest.raises(ModelError, match="safe from quality 60 on, by its pilot, and quality 59 is asked for"):
        check_admitted(added, 59)
    models.admit(added, gate(30))
    check_admitted(added, 30)
    check_admitted(default_fingerprint(), 1)


def test_adding_again_changes_nothing(models: Registry, added: str, tmp_path: Path) -> None:
    models.admit(added, gate(60))
    weights = tmp_path / f"qarv-{added}.safetensors"
    card = weights.with_suffix(".md")
    entry = models.add(examine(weights, card, by="other", at=datetime.now(UTC)))
    assert (entry.added_by, len(entry.gates)) == ("mori@plant", 1)


def test_what_is_not_an_exact_model_with_its_own_card_is_refused(tmp_path: Path, models: Registry) -> None:
    weights, card, fingerprint = make_model(tmp_path)
    shipped_card = FOLDER / f"qarv-{default_fingerprint()}.md"
    floats = FOLDER / "qarv-746dad7cd19f366f.safetensors"
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-1000])
    bare = tmp_path / "bare.md"
    bare.write_text(f"# QARV weights {fingerprint}\n\n## Held-out curve, from real encoded bytes\n\nSoon.\n")

    def refused(weights: Path, card: Path) -> str:
        with pytest.raises((ModelError, ConfigError)) as error:
            examine(weights, card, by="me", at=NOW)
        return str(error.value)

    assert "is not a QARV weight file" in refused(cut, card)
    huge = tmp_path / "huge.safetensors"
    huge.write_bytes(weights.read_bytes().replace(b'\\"width_8\\": 96', b'\\"width_8\\":9999'))
    assert "its width_8 is 9999; at most 1024 is read" in refused(huge, card)
    assert "float weights" in refused(floats, floats.with_suffix(".md"))
    assert f"does not name {fingerprint}" in refused(weights, shipped_card)
    assert "has no validation curve" in refused(weights, bare)
    assert "cannot be read" in refused(weights, tmp_path / "none.md")
    with pytest.raises(ModelError, match="shipped with the package"):
        models.add(examine(FOLDER / f"qarv-{default_fingerprint()}.safetensors", shipped_card, by="me", at=NOW))
    assert models.entries() == []


@pytest.mark.parametrize(
    "row",
    [
        "| 20 | 0.3 bpp, 40 dB | 0.2 bpp, 42 dB | 0.9 bpp, 45 dB |",
        "| 20 | 0.3 bpp, 40 dB | 0.4 bpp, 42 dB | – |",
        "| 20 | 0.3 bpp, 40 dB | 0.4 bpp, 39 dB | 0.9 bpp, 45 dB |",
        "| 20 | 0.3.1 bpp, 40 dB | 0.4 bpp, 42 dB | 0.9 bpp, 45 dB |",
        "",
    ],
)
def test_a_curve_that_is_none_is_refused(row: str) -> None:
    card = f"| minutes | quality 1 | quality 50 | quality 100 |\n|---|---|---|---|\n{row}\n"
    with pytest.raises(ModelError, match=r"card\.md: its validation curve is no curve"):
        read_curve(card, "card.md")


def test_changed_weights_and_entries_are_noticed(models: Registry, added: str) -> None:
    entry = models.folder / added / "entry.json"
    sound = entry.read_text()
    entry.write_text(json.dumps(json.loads(sound) | {"gates": [{"kind": "none needed"}]}))
    with pytest.raises(ModelError, match=r"entry\.json: gates\.0"):
        check_admitted(added, 60)
    entry.write_text(sound)
    weights = models.folder / added / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5000] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UnknownModelError, match="has been changed"):
        load_codec("qarv", model=added)


def test_models_that_files_could_not_tell_apart_are_refused(models: Registry, tmp_path: Path) -> None:
    weights, card, fingerprint = make_model(tmp_path)
    candidate = examine(weights, card, by="me", at=NOW)
    models.add(candidate)
    namesake = fingerprint[:8] + "0" * 8
    shutil.move(models.folder / fingerprint, models.folder / namesake)
    with pytest.raises(ModelError, match=f"begins like {namesake}"):
        models.add(candidate)
