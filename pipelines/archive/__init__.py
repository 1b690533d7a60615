"""The archive: encoded frames and what is known about each, in one Delta Lake table.

It stores and returns encoded bytes; encoding and decoding them is the business of the stages.
`docs/archive.md` describes the table for other tools.
"""

from pipelines.archive.keys import Keys
from pipelines.archive.schema import ADDED, IDENTITY, PARTITIONS, SCHEMA, ArchivedFrame, FrameKey
from pipelines.archive.table import COMMIT_BYTES, COMMIT_FRAMES, Archive, commit_batches
from pipelines.archive.verdicts import JudgedFrame, Verdicts
from pipelines.archive.verify import check_row

__all__ = [
    "ADDED",
    "COMMIT_BYTES",
    "COMMIT_FRAMES",
    "IDENTITY",
    "PARTITIONS",
    "SCHEMA",
    "Archive",
    "ArchivedFrame",
    "FrameKey",
    "JudgedFrame",
    "Keys",
    "Verdicts",
    "check_row",
    "commit_batches",
]
