"""The registry: models that a plant added, each in a folder named by its fingerprint. It judges no evidence.

A model is never removed: as long as there are files that name it, they have to decode. Retiring it stops new ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from filelock import FileLock
from pydantic import ValidationError

from inspect_compress.errors import ModelError
from inspect_compress.files import output_errors, read_file, staged_folder, write_file
from inspect_compress.models.card import read_curve
from inspect_compress.models.entry import Entry, Gate, Retirement
from inspect_compress.models.folder import CARD, ENTRY, WEIGHTS, registered_weights, registry_folder
from inspect_compress.qarv.exact import ExactNetwork
from inspect_compress.qarv.weights import (
    full_fingerprint,
    installed_fingerprints,
    shipped_fingerprints,
    weights_from,
)

MAX_WEIGHTS = 256 << 20
MAX_TEXT = 1 << 20
"""Bytes of a weight file, and of a card or entry, that are read at most."""

_TRIAL_QUALITIES = (1, 60, 100)
_DIGITS_IN_FILES = 8
"""Hexadecimal digits of the fingerprint that a file of version 2 holds (docs/format.md)."""


@dataclass(frozen=True)
class Candidate:
    """A weight file and its card that were found fit for the registry: read, tried, and not yet added."""

    weights: bytes
    card: str
    entry: Entry


def examine(weights: Path, card: Path, *, by: str, at: datetime) -> Candidate:
    """Read a weight file and its card, and try the model on a picture. Raises ModelError and ConfigError.

    The weights must be exact ones; the card must be theirs, and hold a validation curve.
    """
    from inspect_compress.qarv.codec import QarvCodec

    text = _read(card, MAX_TEXT).decode("utf-8", "replace")
    data = _read(weights, MAX_WEIGHTS)
    model = weights_from(data, str(weights))
    if not isinstance(model.network, ExactNetwork):
        raise ModelError(
            f"{weights}: holds float weights, whose files decode only on the type of machine that made them; "
            "make them exact with `inspect-compress export`, and add what it writes"
        )
    heading = text.lstrip().partition("\n")[0]
    if model.fingerprint not in heading:
        raise ModelError(
            f"{card}: is not the card of {weights}: its first line does not name {model.fingerprint}; "
            "give the card that was written beside the weights"
        )
    curve = read_curve(text, str(card))
    codec = QarvCodec(model)
    rng = np.random.default_rng(0)
    picture = rng.normal(0, 2, (48, 40)).cumsum(axis=1).clip(-128, 127).astype(np.int8).view(np.uint8)
    for quality in _TRIAL_QUALITIES:
        coded = codec.encode_and_reconstruct(picture, quality=quality)
        if not np.array_equal(codec.decode(coded.data), coded.reconstruction):
            raise ModelError(f"{weights}: does not decode what it encodes; train or export it again")
    return Candidate(data, text, Entry(fingerprint=model.fingerprint, added_at=at, added_by=by, curve=curve))


@dataclass(frozen=True)
class Registry:
    """The models in a folder. Changes are whole or not at all, and safe beside other processes."""

    folder: Path

    def entries(self) -> list[Entry]:
        """All models, in the order in which they were added. Raises ModelError for an entry that is not sound."""
        found = [self._read_entry(fingerprint) for fingerprint in registered_weights(self.folder)]
        return sorted(found, key=lambda entry: (entry.added_at, entry.fingerprint))

    def entry(self, beginning: str) -> Entry | None:
        """The model whose fingerprint begins so; None for a shipped one. Raises UnknownModelError."""
        fingerprint = full_fingerprint(beginning)
        return None if fingerprint in shipped_fingerprints() else self._read_entry(fingerprint)

    def card(self, fingerprint: str) -> str:
        """The card of a model of the registry, in Markdown."""
        return _read(self.folder / fingerprint / CARD, MAX_TEXT).decode("utf-8", "replace")

    def check_addable(self, fingerprint: str) -> None:
        """Raise ModelError for a shipped model, and for one that files could not tell from another."""
        if fingerprint in shipped_fingerprints():
            raise ModelError(f"model {fingerprint} is shipped with the package; there is nothing to add")
        for known in installed_fingerprints():
            if known != fingerprint and known[:_DIGITS_IN_FILES] == fingerprint[:_DIGITS_IN_FILES]:
                raise ModelError(
                    f"model {fingerprint} begins like {known}, and files name a model by {_DIGITS_IN_FILES} digits: "
                    "neither's files could be decoded any more; train it for another minute"
                )

    def add(self, candidate: Candidate) -> Entry:
        """Take a model in. One that is there already stays as it is. Raises ModelError as `check_addable`."""
        fingerprint = candidate.entry.fingerprint
        with self._locked():
            if fingerprint in registered_weights(self.folder):
                return self._read_entry(fingerprint)
            self.check_addable(fingerprint)
            with staged_folder(self.folder / fingerprint, overwrite=True) as stage:
                write_file(stage / WEIGHTS, candidate.weights)
                write_file(stage / CARD, candidate.card.encode())
                write_file(stage / ENTRY, _json(candidate.entry))
        return candidate.entry

    def admit(self, fingerprint: str, gate: Gate) -> Entry:
        """Note a gate that a model has passed, beside those before it."""
        with self._locked():
            entry = self._read_entry(fingerprint)
            return self._write_entry(entry.model_copy(update={"gates": (*entry.gates, gate)}))

    def retire(self, fingerprint: str, retirement: Retirement) -> Entry:
        """Stop the use of a model for new files; those there are still decode. Raises ModelError if it is retired."""
        with self._locked():
            entry = self._read_entry(fingerprint)
            check_in_use(entry)
            return self._write_entry(entry.model_copy(update={"retired": retirement}))

    def _read_entry(self, fingerprint: str) -> Entry:
        path = self.folder / fingerprint / ENTRY
        try:
            entry = Entry.model_validate_json(_read(path, MAX_TEXT))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join(map(str, problem["loc"]))
            raise ModelError(f"{path}: {where}: {problem['msg']}; restore it from a copy") from error
        if entry.fingerprint != fingerprint:
            raise ModelError(f"{path}: is the entry of {entry.fingerprint}; restore it from a copy")
        return entry

    def _write_entry(self, entry: Entry) -> Entry:
        write_file(self.folder / entry.fingerprint / ENTRY, _json(entry), overwrite=True)
        return entry

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                yield


def registry() -> Registry:
    """The registry that the environment names, or this user's."""
    return Registry(registry_folder())


def fingerprint_to_encode_with(beginning: str) -> str:
    """The fingerprint of an installed model that is not retired. Raises UnknownModelError and ModelError."""
    entry = registry().entry(beginning)
    if entry is None:
        return full_fingerprint(beginning)
    check_in_use(entry)
    return entry.fingerprint


def check_admitted(beginning: str, lowest_quality: int) -> None:
    """Raise ModelError unless a line may encode with a model at this quality and above.

    Shipped models are admitted; those of the registry by a gate, unless they are retired.
    """
    entry = registry().entry(beginning)
    if entry is None:
        return
    check_in_use(entry)
    if entry.lowest_quality is None:
        raise ModelError(
            f"model {entry.fingerprint} has passed no gate: no pilot has judged it safe; run `inspect-compress pilot "
            f"DATASET --model {entry.fingerprint}`, then `inspect-compress models add` again with --pilot"
        )
    if lowest_quality < entry.lowest_quality:
        raise ModelError(
            f"model {entry.fingerprint} is safe from quality {entry.lowest_quality} on, by its pilot, and quality "
            f"{lowest_quality} is asked for; raise it, or have a pilot judge the model there"
        )


def check_in_use(entry: Entry) -> None:
    """Raise ModelError where a model is retired."""
    if entry.retired:
        when, by, why = entry.retired.at.date(), entry.retired.by, entry.retired.reason
        raise ModelError(
            f"model {entry.fingerprint} was retired on {when} by {by} ({why}): its files decode, and no new ones "
            "are made; name another model"
        )


def _json(entry: Entry) -> bytes:
    return (entry.model_dump_json(indent=1) + "\n").encode()


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_file(path, limit=limit)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
