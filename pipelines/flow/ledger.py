"""The ledger: what became of every frame that was captured, in one SQLite file. The frames themselves lie elsewhere.

A frame is `captured` until it is `stored` (its commit is done), `failed`, `dropped`, or `lost`: captured, not stored
by a run that is dead, and neither in the spool nor in the source any more. `docs/flow.md` describes the tables.
"""

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inspect_compress.errors import LedgerError
from pipelines.archive import ArchivedFrame, FrameKey
from pipelines.frame import Frame
from pipelines.policy import is_degraded

FILE_NAME = "ledger.sqlite"
BUSY_SECONDS = 60.0
"""How long a process waits for another one's transaction, which takes milliseconds."""
FOLDED_AT_ONCE = 10_000
"""Rows that are summed up in one transaction, in tenths of a second: others wait as long."""

CAPTURED, STORED, FAILED, DROPPED, LOST = "captured", "stored", "failed", "dropped", "lost"
GAP, UNREADABLE = "gap", "unreadable"

_TABLES = """
CREATE TABLE IF NOT EXISTS frames (
    frame_id TEXT PRIMARY KEY, image TEXT, sequence INTEGER, captured_at TEXT,
    state TEXT NOT NULL, owner TEXT NOT NULL, spooled TEXT NOT NULL DEFAULT '',
    codec TEXT NOT NULL DEFAULT '', quality INTEGER NOT NULL DEFAULT 0,
    asked_codec TEXT NOT NULL DEFAULT '', asked_quality INTEGER NOT NULL DEFAULT 0,
    degraded INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
    seen REAL NOT NULL, changed REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unfinished ON frames (state) WHERE state != 'stored';
CREATE INDEX IF NOT EXISTS degraded ON frames (degraded) WHERE degraded;
CREATE INDEX IF NOT EXISTS spooled ON frames (spooled) WHERE spooled != '';
CREATE INDEX IF NOT EXISTS plain ON frames (changed) WHERE state = 'stored' AND NOT degraded AND reason = '';
CREATE TABLE IF NOT EXISTS folded (day TEXT PRIMARY KEY, stored INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS missed (
    kind TEXT NOT NULL, image TEXT NOT NULL, count INTEGER NOT NULL, after INTEGER NOT NULL, before INTEGER NOT NULL,
    reason TEXT NOT NULL, seen REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS unchecked (
    owner TEXT NOT NULL, frame_id TEXT NOT NULL, codec TEXT NOT NULL, model TEXT NOT NULL, quality INTEGER NOT NULL,
    image TEXT NOT NULL, begun REAL, done REAL,
    PRIMARY KEY (owner, frame_id, codec, model, quality)
);
"""


@dataclass(frozen=True)
class Unchecked:
    """A row of the archive that is to be read back. It was stored between `begun` and `done`, where that is known."""

    key: FrameKey
    image: str
    begun: float | None
    done: float | None


@dataclass(frozen=True)
class Balance:
    """What became of the frames: `captured` is the sum of those that follow. `gaps` never arrived."""

    captured: int
    stored: int
    failed: int
    dropped: int
    waiting: int
    lost: int
    degraded: int
    gaps: int
    unreadable: int


@dataclass(frozen=True)
class Remark:
    """A frame, or frames, that the ledger has something to say about besides that it was stored as asked."""

    what: str
    frame_id: str
    image: str
    count: int
    reason: str
    at: float


class Ledger:
    """The ledger in the file `path`, for the process `owner`. Several threads and processes may use it at once.

    With `create` false, raises LedgerError where there is none. All methods raise LedgerError where the file cannot
    be read or written.
    """

    def __init__(self, path: Path, owner: str = "", *, create: bool = True) -> None:
        self._path, self._owner = path, owner
        self._guard = threading.Lock()
        if not create and not path.is_file():
            raise LedgerError(f"{path}: there is no ledger; `inspect-compress run` makes it")
        with self._errors():
            self._database = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_TABLES)

    def captured(self, frame: Frame, image: str, spooled: str = "") -> None:
        """Note that a frame is in hand and that it cannot be lost: it is in the spool, or its source keeps it."""
        now = time.time()
        at = frame.captured_at.isoformat()
        row = (_text(frame.frame_id), _text(image), frame.sequence, at, self._owner, spooled, now, now)
        with self._change() as database:
            database.execute(
                "INSERT INTO frames (frame_id, image, sequence, captured_at, state, owner, spooled, seen, changed) "
                "VALUES (?, ?, ?, ?, 'captured', ?, ?, ?, ?) ON CONFLICT (frame_id) DO UPDATE SET "
                "state = 'captured', owner = excluded.owner, changed = excluded.changed, "
                "spooled = CASE WHEN excluded.spooled != '' THEN excluded.spooled ELSE spooled END",
                row,
            )

    def stored(self, records: Sequence[ArchivedFrame], images: Sequence[str], *, begun: float, done: float) -> None:
        """Note that rows are committed, by a commit between these two times; each waits to be read back."""
        with self._change() as database:
            database.executemany(
                "UPDATE frames SET state = 'stored', spooled = '', codec = ?, quality = ?, asked_codec = ?, "
                "asked_quality = ?, degraded = ?, reason = ?, changed = ? WHERE frame_id = ?",
                [
                    (
                        r.codec,
                        r.quality,
                        r.asked.codec,
                        r.asked.quality,
                        is_degraded(r),
                        _degradation(r),
                        done,
                        _text(r.frame_id),
                    )
                    for r in records
                ],
            )
            self._to_check(database, [r.key for r in records], images, begun, done)

    def already_stored(self, key: FrameKey, image: str, *, check: bool) -> None:
        """Note that the archive holds a frame as it was asked for; with `check`, it is to be read back once more."""
        with self._change() as database:
            database.execute(
                "UPDATE frames SET state = 'stored', spooled = '', codec = ?, quality = ?, changed = ? "
                "WHERE frame_id = ?",
                (key.codec, key.quality, time.time(), _text(key.frame_id)),
            )
            if check:
                self._to_check(database, [key], [image], None, None)

    def failed(self, frame_id: str, reason: str) -> None:
        """Note that nothing can be done with a frame."""
        self._ended(FAILED, frame_id, reason)

    def dropped(self, frame_id: str, reason: str) -> None:
        """Note that a captured frame is gone for good."""
        self._ended(DROPPED, frame_id, reason)

    def unspooled(self, spooled: str, reason: str, *, gone: bool) -> tuple[str, str]:
        """Note that a spool file cannot be read: its frame is dropped, or, where it is not `gone`, has failed.

        Returns the frame's id and image, which are empty where the ledger does not know the file.
        """
        with self._change(durable=True) as database:
            row = database.execute(
                "UPDATE frames SET state = ?, reason = ?, changed = ? WHERE spooled = ? AND state = 'captured' "
                "RETURNING frame_id, image",
                (DROPPED if gone else FAILED, _text(reason), time.time(), spooled),
            ).fetchone()
        return row or ("", "")

    def not_checked(self, frame_id: str, reason: str) -> None:
        """Note why a stored frame could not be read back or judged."""
        with self._change(durable=True) as database:
            database.execute("UPDATE frames SET reason = ? WHERE frame_id = ?", (_text(reason), _text(frame_id)))

    def gap(self, count: int, after: int, before: int) -> None:
        """Note that frames never arrived here: the source's number jumped."""
        self._missed(GAP, "", count, after, before, f"the source's number jumped from {after} to {before}")

    def unreadable(self, image: str, reason: str) -> None:
        """Note that the source holds something that is no frame. It is noted once, with the latest reason."""
        with self._change() as database:
            database.execute("DELETE FROM missed WHERE kind = ? AND image = ?", (UNREADABLE, _text(image)))
        self._missed(UNREADABLE, image, 1, 0, 0, reason)

    def take_over(self, spooled: Iterable[str], alive: Callable[[str], bool]) -> None:
        """Make the spooled frames of dead processes, and what they had still to check, this process's own."""
        with self._change() as database:
            database.executemany(
                "UPDATE frames SET owner = ?, state = 'captured' WHERE spooled = ? "
                "AND state IN ('captured', 'failed')",
                [(self._owner, name) for name in spooled],
            )
            for (owner,) in database.execute("SELECT DISTINCT owner FROM unchecked").fetchall():
                if not alive(owner):
                    database.execute(
                        "UPDATE OR REPLACE unchecked SET owner = ? WHERE owner = ?", (self._owner, owner)
                    )

    def mark_lost(self, alive: Callable[[str], bool]) -> None:
        """Once the source has shown all that it holds: what only a dead process had captured is lost."""
        reason = "was captured by a run that ended before it was stored, and its source does not have it any more"
        with self._change(durable=True) as database:
            owners = database.execute("SELECT DISTINCT owner FROM frames WHERE state = 'captured'").fetchall()
            database.executemany(
                "UPDATE frames SET state = 'lost', reason = ?, changed = ? WHERE state = 'captured' AND owner = ?",
                [(reason, time.time(), owner) for (owner,) in owners if not alive(owner)],
            )

    def unchecked(self, most: int) -> list[Unchecked]:
        """What this process has to read back, oldest first."""
        rows = self._all(
            "SELECT frame_id, codec, model, quality, image, begun, done FROM unchecked WHERE owner = ? "
            "ORDER BY begun LIMIT ?",
            (self._owner, most),
        )
        return [Unchecked(FrameKey(*row[:4]), *row[4:]) for row in rows]

    def checked(self, keys: Iterable[FrameKey]) -> None:
        """Note that rows were read back, and what was to be said about them was said."""
        with self._change() as database:
            database.executemany(
                "DELETE FROM unchecked WHERE owner = ? AND frame_id = ? AND codec = ? AND model = ? AND quality = ?",
                [(self._owner, _text(key.frame_id), *key[1:]) for key in keys],
            )

    def fold(self, before: float, most: int = FOLDED_AT_ONCE) -> int:
        """Sum up by day what was stored before a time and has nothing said about it; return how many frames.

        The archive tells what became of them. Up to `most` are done in one transaction.
        """
        with self._change() as database:
            rows = database.execute(
                "DELETE FROM frames WHERE frame_id IN (SELECT frame_id FROM frames WHERE state = 'stored' "
                "AND NOT degraded AND reason = '' AND changed < ? LIMIT ?) RETURNING date(changed, 'unixepoch')",
                (before, most),
            ).fetchall()
            database.executemany(
                "INSERT INTO folded VALUES (?, ?) ON CONFLICT (day) DO UPDATE SET stored = stored + excluded.stored",
                Counter(day for (day,) in rows).items(),
            )
        return len(rows)

    def balance(self) -> Balance:
        """The sums over all frames."""
        states = dict(self._all("SELECT state, count(*) FROM frames GROUP BY state", ()))
        missed = dict(self._all("SELECT kind, sum(count) FROM missed GROUP BY kind", ()))
        ((folded,),) = self._all("SELECT coalesce(sum(stored), 0) FROM folded", ())
        ((degraded,),) = self._all("SELECT count(*) FROM frames WHERE degraded", ())
        return Balance(
            captured=sum(states.values()) + folded,
            stored=states.get(STORED, 0) + folded,
            failed=states.get(FAILED, 0),
            dropped=states.get(DROPPED, 0),
            waiting=states.get(CAPTURED, 0),
            lost=states.get(LOST, 0),
            degraded=degraded,
            gaps=missed.get(GAP, 0),
            unreadable=missed.get(UNREADABLE, 0),
        )

    def remarks(self) -> list[Remark]:
        """The frames that were not simply stored as asked, and those that never arrived, in the order of time."""
        frames = self._all(
            "SELECT CASE WHEN degraded THEN 'degraded' WHEN state = 'stored' THEN 'not checked' ELSE state END, "
            "frame_id, image, 1, reason, changed "
            "FROM frames WHERE reason != '' AND state != 'captured'",
            (),
        )
        missed = self._all("SELECT kind, '', image, count, reason, seen FROM missed", ())
        return sorted((Remark(*row) for row in [*frames, *missed]), key=lambda remark: remark.at)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _ended(self, state: str, frame_id: str, reason: str) -> None:
        with self._change(durable=True) as database:
            database.execute(
                "UPDATE frames SET state = ?, reason = ?, changed = ? WHERE frame_id = ?",
                (state, _text(reason), time.time(), _text(frame_id)),
            )

    def _missed(self, kind: str, image: str, count: int, after: int, before: int, reason: str) -> None:
        with self._change(durable=True) as database:
            database.execute(
                "INSERT INTO missed VALUES (?, ?, ?, ?, ?, ?, ?)",
                (kind, _text(image), count, after, before, _text(reason), time.time()),
            )

    def _to_check(
        self,
        database: sqlite3.Connection,
        keys: Sequence[FrameKey],
        images: Sequence[str],
        begun: float | None,
        done: float | None,
    ) -> None:
        database.executemany(
            "INSERT OR REPLACE INTO unchecked VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (self._owner, _text(key.frame_id), *key[1:], _text(image), begun, done)
                for key, image in zip(keys, images, strict=True)
            ],
        )

    def _all(self, query: str, values: tuple[object, ...]) -> list[tuple]:
        with self._guard, self._errors():
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _change(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction. Only with `durable` it is sure to survive a power failure; all survive a killed process.

        What is not durable is what the spool, the source and the archive would tell anew.
        """
        with self._guard, self._errors():
            self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(f"{self._path}: {error}") from error


def _text(value: str) -> str:
    """A text as a database takes it: what a file's name holds besides characters is written out."""
    return value.encode(errors="backslashreplace").decode()


def _degradation(record: ArchivedFrame) -> str:
    """Why a frame was degraded. Why one fell back is in the archive, and no matter of the ledger."""
    return record.fallback if is_degraded(record) else ""
