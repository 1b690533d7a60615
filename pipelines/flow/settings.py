"""`[flow]`: how many frames may wait and where, what happens when there are more, and how long to try again."""

from typing import Annotated, Literal

from pydantic import Field

from inspect_compress.codecs import codec_names
from inspect_compress.settings import FilePath
from pipelines.section import Section, one_of

WhenFull = Literal["spill", "degrade", "block"]


class FlowConfig(Section):
    """`[flow]`. Every key may be left out; `docs/flow.md` explains them."""

    state: FilePath | None = None
    """Folder of the ledger and the spool; by default beside a local archive, or else beside the configuration."""
    when_full: WhenFull | None = None
    """By default `block` for a source that keeps its frames, and `spill` for one that does not."""
    queue: int = Field(default=16, ge=1, le=10_000)
    """Most frames that wait in memory to be compressed."""
    degrade_to: int = Field(default=30, ge=1, le=100)
    degrade_codec: Annotated[str, one_of(codec_names)] | None = None
    """A faster codec than that of `[compress]`; by default the same."""
    spool_bytes: int = Field(default=20_000_000_000, ge=0)
    """Most bytes that the spool may hold."""
    free_bytes: int = Field(default=1_000_000_000, ge=0)
    """Bytes that the spool leaves free on its disk."""
    commit_seconds: float = Field(default=2.0, gt=0, le=3600)
    """Longest time that an encoded frame waits for its commit while the source is followed."""
    retry_seconds: float = Field(default=60.0, ge=0)
    """How long a commit that fails is tried again; where the source is followed, for ever."""
    ledger_days: int = Field(default=90, ge=1)
    """Days after which frames that were stored as asked are summed up by day in the ledger."""
    stall_after: float = Field(default=60.0, gt=0)
    """Seconds without a frame after which a followed source is called stalled."""
