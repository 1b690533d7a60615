"""A line's log: one JSON object per line, or plain text where a person reads along. It is no record of the frames.

The record is the ledger and the archive; a log line is discarded rather than waited for. What other parts of this
package, and other packages, say through Python's `logging` goes to the same place.
"""

import json
import logging
import queue
import sys
import threading
from datetime import UTC, datetime
from logging.handlers import QueueHandler, RotatingFileHandler
from types import TracebackType

from inspect_compress.errors import ConfigError
from pipelines.flow.events import Event
from pipelines.observe.config import LogsConfig
from pipelines.observe.said import fields_of, level_of, name_of, one_line, plain, sentence, utc

OWN = ("inspect_compress", "pipelines")
"""The packages whose messages are written from the level of `[logs]` on; others' from warnings on."""
LINES_HELD = 10_000
"""Most log lines that wait to be written."""
FILE_BYTES, FILES_KEPT = 64 << 20, 10
"""A log file is set aside at this size, and so many of them are kept: 704 MiB at most."""
LAST_LINES_WITHIN = 0.5
"""Seconds that the end of a run waits for the last lines to be written."""

_log = logging.getLogger("pipelines.line")


class Logs:
    """An observer that writes each event as one line, for as long as its context lasts."""

    def __init__(self, config: LogsConfig, line: str) -> None:
        self._level = getattr(logging, config.level.upper())
        self._writer = _writer(config, line)
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(LINES_HELD)
        self._handler = _Handler(self._waiting)
        self._thread = threading.Thread(target=self._write, name="logs", daemon=True)
        self._levels = {name: logging.getLogger(name).level for name in OWN}

    def __enter__(self) -> "Logs":
        for name in OWN:
            logging.getLogger(name).setLevel(self._level)
        logging.getLogger().addHandler(self._handler)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            _log.error("the run ended: %s", error)
        logging.getLogger().removeHandler(self._handler)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        try:
            self._waiting.put(None, timeout=LAST_LINES_WITHIN)
            self._thread.join(LAST_LINES_WITHIN)
        except queue.Full:
            pass  # nobody reads what is written: the thread is left behind

    def __call__(self, event: Event) -> None:
        """Write the event, where its level is at or above that of `[logs]`."""
        level = level_of(event)
        if _log.isEnabledFor(level):
            _log.log(level, "%s", sentence(event), extra={"event": name_of(event), "fields": fields_of(event)})

    def _write(self) -> None:
        while record := self._waiting.get():
            self._writer.handle(record)
        self._writer.close()

    def discarded(self) -> int:
        """Lines that were not written so far."""
        return self._handler.discarded + self._writer.discarded


class _Writer(logging.Handler):
    """Writes lines where they belong; one that cannot be written is counted."""

    discarded = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        self.discarded += 1


class _Stderr(_Writer):
    """Looks standard error up for each line, so that a progress bar that took its place keeps its place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.handleError(record)


class _File(_Writer, RotatingFileHandler):
    """A file that is set aside when it has grown large."""


class _Handler(QueueHandler):
    """Takes lines without waiting. What there is no room for is counted, and said when there is room again."""

    discarded = 0
    _unsaid = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self._unsaid:
                self.queue.put_nowait(_missing(self._unsaid))
                self._unsaid = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self.discarded += 1
            self._unsaid += 1


class _Json(logging.Formatter):
    """One JSON object: time, level, line, event, the event's fields, message."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self._line = line

    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", None)
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "line": self._line,
            "event": event or "log",
            **({} if event else {"logger": record.name}),
            **getattr(record, "fields", {}),
            "message": plain(super().format(record)),
        }
        return json.dumps(entry, ensure_ascii=False, allow_nan=False, default=str)


class _Text(logging.Formatter):
    """Time, level where it matters, and the message."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        text = "\n".join(map(one_line, super().format(record).splitlines()))
        return f"{_time(record)[:19].replace('T', ' ')}  {level}{text}"


def _writer(config: LogsConfig, line: str) -> _Writer:
    writer: _Writer
    if config.file:
        try:
            config.file.parent.mkdir(parents=True, exist_ok=True)
            writer = _File(config.file, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"[logs] file: {config.file} cannot be written: {error.strerror or error}; "
                "name another file, or leave file out to log to standard error"
            ) from error
    else:
        writer = _Stderr()
    as_text = config.file is None and sys.stderr.isatty()
    writer.setFormatter(_Text() if as_text else _Json(line))
    return writer


def _missing(count: int) -> logging.LogRecord:
    message = f"{count} log lines are missing here: they came faster than they could be written"
    return _log.makeRecord(_log.name, logging.WARNING, __file__, 0, message, (), None)


def _time(record: logging.LogRecord) -> str:
    return utc(datetime.fromtimestamp(record.created, UTC))
