"""The gate that a model passes before a line may encode with it: a pilot's summary that judged this model safe.

A pilot's folder is read by its files alone; what they mean is written in docs/report.md. Nothing is measured here.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from inspect_compress.errors import ModelError
from inspect_compress.files import read_file
from inspect_compress.models.entry import Gate

SUMMARY, HASHES = "summary.json", "hashes.json"
SCHEMA = 2
"""Of the summaries that are understood here."""
MAX_BYTES = 256 << 20


class _Decision(BaseModel):
    verdict: str
    codec: str
    quality: int
    detector: str


class _Dataset(BaseModel):
    name: str


class _Summary(BaseModel):
    """The part of a summary that the gate rests on."""

    decision: _Decision
    models: dict[str, str]
    dataset: _Dataset


@dataclass(frozen=True)
class Judgement:
    """What a pilot says of a model. `objection`: why that is no reason to admit it; empty where it judged it safe."""

    quality: int
    dataset: str
    detector: str
    summary_sha256: str
    objection: str

    def gate(self, by: str, at: datetime) -> Gate:
        """The gate of a model that was judged safe. Raises ModelError with the objection."""
        if self.objection:
            raise ModelError(
                f"{self.objection}; a line may use it by --override-by NAME --reason TEXT, which the registry records"
            )
        return Gate(
            at=at,
            by=by,
            kind="pilot",
            quality=self.quality,
            dataset=self.dataset,
            detector=self.detector,
            summary_sha256=self.summary_sha256,
        )


def read_judgement(pilot: Path, fingerprint: str) -> Judgement:
    """What a pilot, named by its folder or its `summary.json`, says of a model.

    Raises ModelError where there is no summary, or it is not as the pilot wrote it.
    """
    path = pilot / SUMMARY if pilot.is_dir() else pilot
    data = _read(path)
    sha256 = hashlib.sha256(data).hexdigest()
    _check_hash(path, sha256)
    content = _parsed(path, data)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ModelError(f"{path}: is not a pilot's summary of schema {SCHEMA}; run `inspect-compress report` on it")
    try:
        summary = _Summary.model_validate(content)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))
        raise ModelError(f"{path}: is not a pilot's summary: {where} is missing or not what it has to be") from error
    decision = summary.decision
    judged = summary.models.get(decision.codec) or "a codec without a model"
    objection = ""
    if judged != fingerprint:
        objection = (
            f"{path}: judged {judged}, not model {fingerprint}; run `inspect-compress pilot DATASET --model "
            f"{fingerprint}`"
        )
    elif decision.verdict != "safe":
        objection = f"{path}: model {fingerprint} was not judged safe; the verdict is {decision.verdict}"
    return Judgement(decision.quality, summary.dataset.name, decision.detector, sha256, objection)


def _check_hash(path: Path, sha256: str) -> None:
    """Compare with what the pilot noted beside its summary, where that is at hand."""
    hashes = path.with_name(HASHES)
    if not hashes.is_file():
        return
    content = _parsed(hashes, _read(hashes))
    derived = content.get("derived") if isinstance(content, dict) else None
    if not isinstance(derived, dict) or derived.get(path.name) != sha256:
        raise ModelError(f"{path}: is not as the pilot wrote it (see {HASHES}); run `inspect-compress report` on it")


def _parsed(path: Path, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is not JSON; name a pilot's folder or its {SUMMARY}") from error


def _read(path: Path) -> bytes:
    try:
        return read_file(path, limit=MAX_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}; name a pilot's folder") from error
