"""A run of a line: capture, compress, store, read back, decode, detect. Printing is done elsewhere.

A detector that fails on an original changes only its quality, and one that is slow only its verdict: no detector
stands between a frame and the archive. What the archive holds already is neither compressed nor stored again.
"""

import hashlib
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from inspect_compress.errors import InspectCompressError, SpoolError
from pipelines.archive import Archive
from pipelines.chain import Chain, line_dataset, line_guard, line_late, line_policy, trained_detector
from pipelines.config import LineConfig
from pipelines.flow.events import Alarm, Events, Finished, Observer, Started
from pipelines.flow.ledger import FILE_NAME, Balance, Ledger
from pipelines.flow.running import Flow
from pipelines.flow.spool import Spool
from pipelines.flow.tally import Fallback, Tally
from pipelines.governance.audit import AuditLog, who
from pipelines.governance.settings import key_ring
from pipelines.progress import Track, untracked
from pipelines.sources import Failure, Source, open_source
from pipelines.stages import Verdict

LATEST = 1000
"""Verdicts, failures and fallbacks that a run which goes on for ever keeps of each."""


@dataclass(frozen=True)
class LineResult:
    """What a run did. Bytes are those of the frames that were read back: their files, pixels, payloads.

    `mean_psnr` is in dB over the frames that were changed at all; None where none was. `threshold` is None
    where nothing was inspected. `rules` counts the frames by the rule that chose their quality; `fallbacks` are
    those that are stored otherwise than was asked for. Of a source that was followed, `verdicts`, `failures` and
    `fallbacks` are the latest ones. `ledger` is the balance over all runs; `interrupted` says that this one was
    asked to end, `followed` that its source has no end of its own.
    """

    captured: int
    stored: int
    already_stored: int
    failed: int
    source_bytes: int
    raw_bytes: int
    stored_bytes: int
    mean_psnr: float | None
    threshold: float | None
    verdicts: tuple[Verdict, ...]
    failures: tuple[Failure, ...]
    archive: str
    rules: dict[str, int]
    fallbacks: tuple[Fallback, ...]
    ledger: Balance
    followed: bool
    interrupted: bool

    @property
    def complete(self) -> bool:
        """Whether the run did all that it was to do: with no frame failed, or until it was to end."""
        return (self.followed and self.interrupted) or not (self.failed or self.interrupted)

    def to_dict(self) -> dict[str, Any]:
        """The result as it is printed by `--json`."""
        return {
            "frames": {
                "captured": self.captured,
                "stored": self.stored,
                "already_stored": self.already_stored,
                "failed": self.failed,
            },
            "bytes": {
                "source_files": self.source_bytes,
                "raw": self.raw_bytes,
                "stored": self.stored_bytes,
            },
            "mean_psnr": self.mean_psnr,
            "rules": self.rules,
            "fallbacks": [vars(fallback) for fallback in self.fallbacks],
            "detections": [vars(verdict) for verdict in self.verdicts],
            "failures": [{"image": f.image, "reason": str(f.error)} for f in self.failures],
            "archive": self.archive,
            "ledger": asdict(self.ledger),
            "interrupted": self.interrupted,
        }


def run_line(
    config: LineConfig,
    *,
    source: Source | None = None,
    observers: Sequence[Observer] = (),
    stop: threading.Event | None = None,
    track: Track = untracked,
) -> LineResult:
    """Run the chain over what the source holds; where it is followed, until `stop` is set.

    `source` stands in for the one that `config` names. `observers` are told what happens. Frames that fail are in
    the result's `failures`; the others are stored. Raises InspectCompressError where the source, archive, codec or
    detector as a whole cannot be used.
    """
    stop = stop or threading.Event()
    source = source or open_source(
        config.source,
        on_failure=lambda failure: flow.source_failed(failure),
        on_stall=lambda stall: flow.source_stalls(stall),
        stop=stop,
    )
    policy, guard, dataset = line_policy(config), line_guard(config.compress), line_dataset(config)
    durable = getattr(source, "durable", False)
    follows = getattr(config.source, "follow", False) or not durable
    tally = Tally(LATEST if follows else None)
    tell = Events([tally, *observers])
    archive = Archive(
        config.archive.uri,
        keys=key_ring(config.encryption),
        on_damaged_file=(lambda _, error: tell(Alarm("archive", str(error), 1, 0))) if follows else None,
    )
    detector = trained_detector(config.detect, dataset, track) if config.detect and dataset else None
    name = config.detect.detector if config.detect else ""
    chain = Chain(policy, guard, line_late(config, policy), detector, name)

    with ExitStack() as stack:
        ledger, spool = _state(config, archive, stack)
        flow = Flow(
            chain,
            config.flow,
            archive=archive,
            ledger=ledger,
            spool=spool,
            tally=tally,
            tell=tell,
            stop=stop,
            track=track,
            durable=durable,
            follows=follows,
        )
        with _audited(config, archive, chain, ledger, tally, tell):
            flow.run(source)
        balance = ledger.balance()
    return LineResult(
        captured=tally.captured,
        stored=tally.stored,
        already_stored=tally.already_stored,
        failed=tally.failed,
        source_bytes=tally.source_bytes,
        raw_bytes=tally.raw_bytes,
        stored_bytes=tally.stored_bytes,
        mean_psnr=tally.mean_psnr,
        threshold=detector.threshold if detector else None,
        verdicts=tuple(tally.in_order()),
        failures=tuple(tally.failures),
        archive=archive.uri,
        rules=dict(sorted(tally.rules.items())),
        fallbacks=tuple(tally.fallbacks),
        ledger=balance,
        followed=follows,
        interrupted=stop.is_set(),
    )


def _state(config: LineConfig, archive: Archive, stack: ExitStack) -> tuple[Ledger, Spool]:
    """The ledger and the spool of this process, until `stack` is closed."""
    folder, owner = config.state, secrets.token_hex(8)
    limits = {"most_bytes": config.flow.spool_bytes, "free_bytes": config.flow.free_bytes}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        spool = Spool(folder / "spool", owner, **limits, keys=archive.keys)
    except OSError as error:
        raise SpoolError(
            f"{folder}: cannot be written: {error.strerror or error}; name a folder as state in [flow]"
        ) from error
    ledger = Ledger(folder / FILE_NAME, owner)
    stack.callback(spool.close)
    stack.callback(ledger.close)
    return ledger, spool


@contextmanager
def _audited(
    config: LineConfig, archive: Archive, chain: Chain, ledger: Ledger, tally: Tally, tell: Events
) -> Iterator[None]:
    """Tell the begin and the end of a run, and have both in the audit log of the archive."""
    codec, quality = chain.policy.default
    file = str(config.file or "")
    settings = {
        "config": file,
        "config_sha256": hashlib.sha256(config.file.read_bytes()).hexdigest() if config.file else "",
        "line": config.source.line,
        "codec": codec.codec_id,
        "model": codec.model,
        "quality": quality,
        "detector": chain.detector_name,
    }
    tell(Started(file, config.source.line, codec.codec_id, codec.model))
    _entry(archive, "run started", settings, tell)
    reason = ""
    try:
        yield
    except BaseException as error:
        reason = str(error) or type(error).__name__
        raise
    finally:
        balance = ledger.balance()
        done = Finished(
            captured=tally.captured,
            stored=tally.stored,
            already_stored=tally.already_stored,
            failed=tally.failed,
            dropped=tally.dropped,
            degraded=tally.degraded,
            waiting=balance.waiting,
        )
        tell(done)
        details = {"line": config.source.line, "run": asdict(done), "ledger": asdict(balance), "error": reason}
        _entry(archive, "run ended", details, tell)


def _entry(archive: Archive, action: str, details: Mapping[str, Any], tell: Events) -> None:
    """Write to the audit log; a line does not stand still where that cannot be done, but it is told."""
    try:
        AuditLog(archive.uri).append(action, by=who(), details=details)
    except InspectCompressError as error:
        tell(Alarm("audit", f"{error}; the entry {action!r} is missing", 1, 0))
