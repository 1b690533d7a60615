"""The observer that watches a line for drift, and raises an alarm that says what departed from the baseline.

Three things: bits per pixel and fidelity of each setting of a codec by itself, so that a change of quality is no
drift; and the detector's scores.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from inspect_compress.errors import ConfigError, OutputError
from pipelines.config import LineConfig
from pipelines.detectors import short_name
from pipelines.drift.baseline import (
    IDENTICAL,
    Watched,
    WatchState,
    pilot_baselines,
    read_state,
    setting_name,
    write_state,
)
from pipelines.drift.settings import DriftConfig
from pipelines.drift.watch import Departure, Watch
from pipelines.flow.events import Alarm, Event, Events, Finished, Judged, Observer, Stored
from pipelines.line_codec import line_codec

STATE = "drift.json"
"""In the state folder of the line: learned baselines, and windows that are not full yet."""
KINDS = 3
"""Of what is watched; each gets its share of the false-alarm rate."""
_UNITS = {"bpp": "bits per pixel", "fidelity": "dB PSNR", "scores": "score"}


def watched_for_drift(config: LineConfig, observers: Sequence[Observer]) -> list[Observer]:
    """The observers, and one more that tells them of drift, where the line has a table `[drift]`.

    Raises ConfigError where the pilot that it names has not measured what the line does.
    """
    if config.drift is None:
        return list(observers)

    baselines: Mapping[Watched, Sequence[float]] = {}
    if config.drift.pilot:
        codec = line_codec(config)
        detector = short_name(config.detect.detector) if config.detect else ""
        settings = (codec.codec_id, codec.model, config.compress.quality)
        baselines = pilot_baselines(config.drift.pilot, *settings, detector)
    return [*observers, Drift(config.drift, Events(observers), baselines, config.state / STATE)]


class Drift:
    """Takes the events `Stored` and `Judged`, and tells an `Alarm` of kind `bpp`, `fidelity` or `scores`.

    With `baselines`, only what they are of is watched; without, baselines are learned, and kept in the file `state`.
    """

    def __init__(
        self, settings: DriftConfig, tell: Observer, baselines: Mapping[Watched, Sequence[float]], state: Path
    ) -> None:
        self._settings, self._tell, self._state = settings, tell, state
        self._learns = not baselines
        self._lock = Lock()
        self._watches = {key: self._watch(baseline=values) for key, values in baselines.items()}
        self._take_up()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, Stored):
            name = setting_name(event.codec, event.model, event.quality)
            self._put(Watched("bpp", name), 8 * event.bytes / (event.width * event.height))
            self._put(Watched("fidelity", name), IDENTICAL if event.psnr is None else event.psnr)
        elif isinstance(event, Judged) and math.isfinite(event.score):
            self._put(Watched("scores", short_name(event.detector)), event.score)
        elif isinstance(event, Finished):
            with self._lock:
                self._keep()

    def _put(self, key: Watched, value: float) -> None:
        with self._lock:
            if self._learns and key not in self._watches:
                self._watches[key] = self._watch()
            watch = self._watches.get(key)
            if watch is None:
                return
            learned = len(watch.baseline)
            departure = watch.put(value)
            if departure or learned + 1 == len(watch.baseline) == self._settings.baseline:
                self._keep()
        if departure:
            self._tell(_alarm(key, departure))

    def _watch(
        self, baseline: Sequence[float] = (), window: Sequence[float] = (), *, departed: bool = False
    ) -> Watch:
        return Watch(
            learn=self._settings.baseline if self._learns else 0,
            size=self._settings.window,
            level=self._settings.false_alarm_rate / KINDS,
            baseline=baseline,
            window=window,
            departed=departed,
        )

    def _take_up(self) -> None:
        """Go on with what earlier runs learned; with a pilot's baseline, with their windows alone."""
        try:
            kept = read_state(self._state)
        except ConfigError as error:
            self._tell(Alarm("drift", str(error), 0, 0))
            return
        for one in kept:
            key = Watched(one.what, one.of)
            if self._learns or key in self._watches:
                baseline = one.baseline if self._learns else self._watches[key].baseline
                self._watches[key] = self._watch(baseline, one.window, departed=one.departed)

    def _keep(self) -> None:
        watches = [
            WatchState(
                what=key.what,
                of=key.of,
                baseline=tuple(watch.baseline) if self._learns else (),
                window=tuple(watch.window),
                departed=watch.departed,
            )
            for key, watch in self._watches.items()
        ]
        try:
            write_state(self._state, watches)
        except OutputError as error:
            self._tell(Alarm("drift", str(error), 0, 0))


def _alarm(key: Watched, departure: Departure) -> Alarm:
    unit = _UNITS[key.what]
    message = (
        f"{key.what} of {key.of}: the last {departure.frames} frames have a median of {departure.median:.4g} {unit}, "
        f"the baseline of {departure.baseline} frames {departure.expected:.4g}; chance of such a window without a "
        f"change: {departure.chance:.1g}"
    )
    return Alarm(key.what, message, departure.median, departure.expected)
