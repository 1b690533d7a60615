"""What a run without `[logs]` says while it goes on, on standard error: stalls, alarms and lost frames.

All else is in what it prints at its end.
"""

import sys
from datetime import UTC, datetime

from pipelines.flow.events import Alarm, Dropped, Event, Gap, Stalled
from pipelines.observe.said import sentence


def notice(event: Event) -> None:
    """An observer that writes one line for each event that a person has to know of at once."""
    if isinstance(event, Alarm | Dropped | Gap | Stalled):
        print(f"{datetime.now(UTC):%H:%M:%S} {sentence(event)}", file=sys.stderr, flush=True)
