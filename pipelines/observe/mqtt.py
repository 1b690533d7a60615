"""Verdicts, figures and alarms for the plant's systems, sent to an MQTT broker. It waits for no broker.

What is to be sent lies in an outbox of bounded length; where it is full, the oldest goes, and is counted. Every
verdict is in the archive as well, so that what a broker missed can be read there.
"""

import json
import logging
import threading
import time
from collections import Counter, deque
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from inspect_compress.errors import ConfigError
from inspect_compress.files import read_file
from pipelines.flow.events import (
    Alarm,
    Captured,
    Degraded,
    Dropped,
    Event,
    Failed,
    Gap,
    Judged,
    Spilled,
    Stalled,
    Stored,
    Timed,
)
from pipelines.observe.config import MqttConfig
from pipelines.observe.said import fields_of, name_of, sentence, utc
from pipelines.policy import DEGRADED

KEEPALIVE = 15
"""Seconds; a broker that says nothing for one and a half times as long counts as gone."""
RETRY_AT_FIRST, RETRY_AT_MOST = 1, 30
"""Seconds between two attempts to reach a broker; they double from the first to the last."""
UNDER_WAY = 20
"""Most messages that are sent and not yet acknowledged."""
CONNECT_WITHIN = 5.0
"""Seconds that a broker has to accept a connection."""
LAST_MESSAGES_WITHIN = 1.0
"""Seconds that the end of a run waits for the last messages to be delivered; a run has to end within ten."""
PASSWORD_BYTES = 65535
"""Most that MQTT allows."""
TICK = 0.25
"""Seconds between two looks at whether figures are due, the connection is back, or a message is acknowledged."""

_log = logging.getLogger(__name__)


class Mqtt:
    """An observer that sends messages to a broker, for as long as its context lasts.

    `<topic>/status`, retained: online or offline, the latter by the broker itself where the connection is lost;
    `<topic>/detections`: each verdict; `<topic>/kpis`: figures of each interval; `<topic>/alarms`: what somebody
    should look at.
    """

    def __init__(self, config: MqttConfig, line: str) -> None:
        self._config, self._line = config, line
        self._topic = config.topic or f"inspect-compress/{_level(line)}"
        self._client = self._new_client()
        self._lock = threading.Lock()
        self._outbox: deque[tuple[str, str]] = deque()
        self._discarded = 0
        self._figures = _Figures()
        self._under_way: set[int] = set()
        self._answers: deque[int | None] = deque()
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._sender = threading.Thread(target=self._send, name="mqtt", daemon=True)
        self._trouble = ""

    def __enter__(self) -> "Mqtt":
        self._client.connect_async(self._config.host, self._port, KEEPALIVE)
        self._client.loop_start()
        self._sender.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._woken.set()
        self._sender.join(LAST_MESSAGES_WITHIN + TICK)
        if self._client.is_connected():
            self._client.publish(*self._status("offline", "stopped"), qos=1, retain=True)
            self._client.disconnect()
        # The client's own thread may hang in a name look-up, and stopping it waits for it.
        stopper = threading.Thread(target=self._client.loop_stop, daemon=True)
        stopper.start()
        stopper.join(TICK)
        with self._lock:
            left = len(self._outbox) + len(self._under_way)
            self._discarded += left
            self._outbox.clear()
        if left:
            _log.warning("%d MQTT messages were not delivered before the run's end", left)

    def __call__(self, event: Event) -> None:
        """Put what the event is worth into the outbox."""
        self._figures.add(event)
        match event:
            case Judged():
                self._put("detections", fields_of(event))
            case Alarm():
                self._put("alarms", fields_of(event))
            case Stalled() | Dropped() | Gap() | Failed():
                self._put("alarms", {"kind": name_of(event), "message": sentence(event)} | fields_of(event))

    def discarded(self) -> int:
        """Messages that were given up so far."""
        with self._lock:
            return self._discarded

    def connected(self) -> bool:
        """Whether the broker answers."""
        return self._client.is_connected()

    @property
    def _port(self) -> int:
        return self._config.port or (8883 if self._config.tls else 1883)

    def _new_client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect_timeout = CONNECT_WITHIN
        client.reconnect_delay_set(RETRY_AT_FIRST, RETRY_AT_MOST)
        client.max_inflight_messages_set(UNDER_WAY)
        client.will_set(*self._status("offline", "lost"), qos=1, retain=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail, client.on_publish = self._on_connect_fail, self._on_publish
        if self._config.username:
            client.username_pw_set(self._config.username, _password(self._config.password_file))
        if self._config.tls:
            try:
                client.tls_set(ca_certs=str(self._config.ca_file) if self._config.ca_file else None)
            except OSError as error:
                raise ConfigError(f"[mqtt] ca_file: {self._config.ca_file} cannot be used: {error}") from error
        return client

    def _status(self, status: str, reason: str = "") -> tuple[str, str]:
        message = {"line": self._line, "status": status} | ({"reason": reason} if reason else {})
        return f"{self._topic}/status", _json(message)

    def _put(self, topic: str, message: dict[str, Any]) -> None:
        text = _json({"time": utc(datetime.now(UTC)), "line": self._line} | message)
        with self._lock:
            if len(self._outbox) >= self._config.outbox:
                self._outbox.popleft()
                self._discarded += 1
            self._outbox.append((f"{self._topic}/{topic}", text))
        self._woken.set()

    def _send(self) -> None:
        """The sender's thread: keeps a few messages under way, and says the figures when they are due."""
        begun = time.monotonic()
        deadline = float("inf")
        while time.monotonic() < deadline:
            self._woken.wait(TICK)
            self._woken.clear()
            ending = self._stopping.is_set() and deadline == float("inf")
            if ending:
                deadline = time.monotonic() + LAST_MESSAGES_WITHIN
            if ending or time.monotonic() - begun >= self._config.interval:
                self._put("kpis", self._figures.taken(time.monotonic() - begun, self.discarded()))
                begun = time.monotonic()
            self._settle()
            while len(self._under_way) < UNDER_WAY and self._client.is_connected() and self._publish():
                self._settle()
            if deadline < float("inf") and (self._trouble or not (self._outbox or self._under_way)):
                return

    def _publish(self) -> bool:
        """Send the oldest message. False where there is none, or it has to wait."""
        with self._lock:
            if not self._outbox:
                return False
            topic, text = self._outbox.popleft()
        sent = self._client.publish(topic, text, qos=self._config.qos)
        if sent.rc != paho.MQTT_ERR_SUCCESS and self._config.qos == 0:
            with self._lock:
                self._outbox.appendleft((topic, text))
            return False
        self._under_way.add(sent.mid)  # at 1 and 2 the client keeps it, and sends it once there is a connection
        return True

    def _settle(self) -> None:
        """Take note of what was acknowledged, and of what went with the connection."""
        while self._answers:
            answer = self._answers.popleft()
            if answer is not None:
                self._under_way.discard(answer)
            elif self._config.qos == 0:
                with self._lock:
                    self._discarded += len(self._under_way)
                self._under_way.clear()

    def _on_connect(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._say_once(f"refuses the connection: {reason}")
            return
        _log.info("MQTT broker %s:%d is connected", self._config.host, self._port)
        self._trouble = ""
        client.publish(*self._status("online"), qos=1, retain=True)
        self._woken.set()

    def _on_disconnect(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._answers.append(None)
        if reason.is_failure:
            self._say_once(f"is gone: {reason}")

    def _on_connect_fail(self, client: paho.Client, data: Any) -> None:
        self._say_once("cannot be reached" + (", or its certificate is not accepted" if self._config.tls else ""))

    def _on_publish(self, client: paho.Client, data: Any, mid: int, reason: Any, properties: Any) -> None:
        self._answers.append(mid)
        self._woken.set()

    def _say_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("MQTT broker %s:%d %s; trying again", self._config.host, self._port, trouble)
        self._trouble = trouble


class _Mean:
    """The mean and the largest of numbers that are not kept."""

    def __init__(self) -> None:
        self._count, self._sum, self.most = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        self._count += 1
        self._sum += value
        self.most = max(self.most, value)

    @property
    def mean(self) -> float | None:
        """None where there was no number."""
        return self._sum / self._count if self._count else None


class _Figures:
    """What happened since the last report. Counted in several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._counts: Counter[str] = Counter()
        self._psnr = _Mean()
        self._seconds: dict[str, _Mean] = {}

    def add(self, event: Event) -> None:
        with self._lock:
            match event:
                case Captured():
                    self._counts.update(captured=1, raw_bytes=event.raw_bytes)
                case Stored():
                    pixels = event.width * event.height
                    fell_back = bool(event.fallback) and not event.fallback.startswith(DEGRADED)
                    self._counts.update(stored=1, stored_bytes=event.bytes, pixels=pixels, fallbacks=fell_back)
                    if event.psnr is not None:
                        self._psnr.add(event.psnr)
                case Judged():
                    self._counts["defective" if event.defective else "good"] += 1
                case Spilled() | Degraded() | Failed():
                    self._counts[name_of(event)] += 1
                case Dropped():
                    self._counts["dropped"] += event.count
                case Gap():
                    self._counts["missing"] += event.count
                case Timed():
                    self._seconds.setdefault(event.stage, _Mean()).add(event.seconds)

    def taken(self, seconds: float, discarded: int) -> dict[str, Any]:
        """The report, which begins the next one."""
        with self._lock:
            counts, psnr, latency = self._counts, self._psnr, self._seconds
            self._reset()
        frames = ("captured", "stored", "spilled", "degraded", "dropped", "failed", "missing", "fallbacks")
        return {
            "seconds": round(seconds, 3),
            "frames": {name: counts[name] for name in frames},
            "bytes": {"captured": counts["raw_bytes"], "stored": counts["stored_bytes"]},
            "bpp": 8 * counts["stored_bytes"] / counts["pixels"] if counts["pixels"] else None,
            "psnr": psnr.mean,
            "verdicts": {name: counts[name] for name in ("good", "defective")},
            "latency": {stage: {"mean": times.mean, "max": times.most} for stage, times in latency.items()},
            "messages_discarded": discarded,
        }


def _level(name: str) -> str:
    """A name as one level of a topic."""
    return "".join("_" if sign in "+#/$\0" else sign for sign in name) or "line"


def _json(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, allow_nan=False)


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        if path.stat().st_mode & 0o007:
            raise ConfigError(f"[mqtt] password_file: {path} can be read by everybody; run `chmod o= {path}`")
        return read_file(path, limit=PASSWORD_BYTES).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[mqtt] password_file: {path} cannot be read: {error}") from error
