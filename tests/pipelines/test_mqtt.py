"""What a line sends to an MQTT broker: against a real one, that goes and comes back."""

import datetime
import ipaddress
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion

from inspect_compress.errors import ConfigError
from inspect_compress.images import write_png
from pipelines.config import read_config
from pipelines.flow.events import Event, Judged
from pipelines.observe import observers_for
from pipelines.observe.config import MqttConfig
from pipelines.observe.mqtt import Mqtt
from tests.pipelines.observed import EVENTS, free_port

ROOT = Path(__file__).parents[2]
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_a_broker = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
PATIENCE = 60.0
"""Seconds after which a message that does not come fails a test."""


class Broker:
    """A mosquitto in a folder, that can be stopped and started again."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true\n") -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"user root\nlistener {self.port} 127.0.0.1\n{settings}"
            f"persistence true\npersistence_location {folder}/\nqueue_qos0_messages true\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self._process:
            self._process.terminate()  # on which it saves what its subscribers asked for
            self._process.wait()
            self._process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    running.start()
    yield running
    running.stop()


class Plant:
    """A system of the plant that subscribes to everything of a line."""

    def __init__(self, port: int, prepare: Callable[[paho.Client], None] = lambda client: None) -> None:
        self.messages: list[tuple[str, dict[str, Any], bool]] = []
        self._news = threading.Condition()
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="plant", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("plant/l1/#", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._note
        prepare(self._client)
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def __enter__(self) -> "Plant":
        assert self._ready.wait(PATIENCE), "the broker does not answer"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def of(self, topic: str) -> list[dict[str, Any]]:
        return [message for name, message, _ in self.messages if name == f"plant/l1/{topic}"]

    def waits_for(self, what: Callable[["Plant"], bool]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: what(self), PATIENCE), self.messages

    def _note(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        with self._news:
            self.messages.append((message.topic, json.loads(message.payload), message.retain))
            self._news.notify_all()


def settings(port: int, **more: Any) -> MqttConfig:
    return MqttConfig(host="127.0.0.1", port=port, topic="plant/l1", **more)


def verdict(number: int) -> Event:
    return Judged(f"f{number}", f"{number}.png", number / 100, 0.5, number >= 50, "anomaly")


@contextmanager
def sending(config: MqttConfig) -> Iterator[Mqtt]:
    with Mqtt(config, "L1") as mqtt:
        yield mqtt


@needs_a_broker
def test_verdicts_alarms_and_figures_reach_the_plant(broker: Broker) -> None:
    with Plant(broker.port) as plant:
        with sending(settings(broker.port)) as mqtt:
            for event in EVENTS:
                mqtt(event)
            plant.waits_for(lambda plant: len(plant.of("alarms")) == 5)
        plant.waits_for(lambda plant: [m["status"] for m in plant.of("status")] == ["online", "offline"])

        good, defective = plant.of("detections")
        assert (good["image"], good["defective"], good["line"]) == ("a.png", False, "L1")
        assert (defective["image"], defective["score"], defective["threshold"]) == ("b.png", 0.9, 0.5)
        kinds = [alarm["kind"] for alarm in plant.of("alarms")]
        assert kinds == ["gap", "dropped", "failed", "stalled", "bpp"]
        (figures,) = plant.of("kpis")
        assert figures["frames"] == {
            "captured": 2,
            "stored": 2,
            "spilled": 1,
            "degraded": 1,
            "dropped": 1,
            "failed": 1,
            "missing": 2,
            "fallbacks": 1,
        }
        assert figures["bytes"] == {"captured": 6144, "stored": 4536}
        assert figures["bpp"] == pytest.approx(8 * 4536 / 6144)
        assert figures["psnr"] == 41.5
        assert figures["verdicts"] == {"good": 1, "defective": 1}
        assert figures["latency"] == {"encode": {"mean": pytest.approx(0.03), "max": 0.04}}
        assert plant.of("status")[-1]["reason"] == "stopped"


@needs_a_broker
def test_figures_come_at_each_interval_and_begin_anew(broker: Broker) -> None:
    with Plant(broker.port) as plant, sending(settings(broker.port, interval=1)) as mqtt:
        for event in EVENTS:
            mqtt(event)
        plant.waits_for(lambda plant: len(plant.of("kpis")) >= 2)

    first, second = plant.of("kpis")[:2]
    assert (first["frames"]["stored"], second["frames"]["stored"]) == (2, 0)
    assert second["bpp"] is second["psnr"] is None


@needs_a_broker
@pytest.mark.parametrize("qos", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_broker_that_is_started_again_gets_what_it_missed(broker: Broker, qos: int) -> None:
    with sending(settings(broker.port, qos=qos)) as mqtt, Plant(broker.port) as plant:
        mqtt(verdict(0))
        plant.waits_for(lambda plant: len(plant.of("detections")) == 1)
        broker.stop()
        until(lambda: not mqtt.connected())
        for number in range(1, 100):
            mqtt(verdict(number))
        broker.start()
        plant.waits_for(lambda plant: len({m["frame_id"] for m in plant.of("detections")}) == 100)

        assert mqtt.discarded() == 0
        assert [m["status"] for m in plant.of("status")][-1] == "online"


def test_a_broker_that_is_not_there_holds_nothing_up_and_what_it_missed_is_counted() -> None:
    with sending(settings(free_port(), outbox=10)) as mqtt:
        for number in range(100):
            mqtt(verdict(number))
        discarded = mqtt.discarded()

    assert discarded == 90
    assert mqtt.discarded() == 101  # and what was left in the end, the last figures among it


@needs_a_broker
def test_the_broker_says_that_a_line_was_killed(broker: Broker) -> None:
    script = (
        "from pipelines.observe.config import MqttConfig\n"
        "from pipelines.observe.mqtt import Mqtt\n"
        f"with Mqtt(MqttConfig(host='127.0.0.1', port={broker.port}, topic='plant/l1'), 'L1'):\n"
        "    input()\n"
    )
    with Plant(broker.port) as plant:
        line = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE)
        plant.waits_for(lambda plant: bool(plant.of("status")))
        line.kill()
        line.wait()
        plant.waits_for(lambda plant: len(plant.of("status")) == 2)

        assert plant.of("status") == [
            {"line": "L1", "status": "online"},
            {"line": "L1", "status": "offline", "reason": "lost"},
        ]
    with Plant(broker.port) as later:
        later.waits_for(lambda plant: bool(plant.messages))
        assert later.messages[0] == ("plant/l1/status", {"line": "L1", "status": "offline", "reason": "lost"}, True)


@needs_a_broker
def test_user_password_and_tls(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    (tmp_path / "users").write_text("line:secret\n")
    subprocess.run(["mosquitto_passwd", "-U", str(tmp_path / "users")], check=True)
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o600)
    broker = Broker(
        tmp_path,
        f"allow_anonymous false\npassword_file {tmp_path / 'users'}\ncertfile {certificate}\nkeyfile {key}\n",
    )
    broker.start()
    safe = {"username": "line", "password_file": tmp_path / "password", "tls": True, "ca_file": certificate}

    def prepare(client: paho.Client) -> None:
        client.tls_set(ca_certs=str(certificate))
        client.username_pw_set("line", "secret")

    try:
        with Plant(broker.port, prepare) as plant, sending(settings(broker.port, **safe)) as mqtt:
            mqtt(verdict(1))
            plant.waits_for(lambda plant: len(plant.of("detections")) == 1)
    finally:
        broker.stop()


@needs_a_broker
def test_a_wrong_password_is_logged_and_the_line_goes_on(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("line:secret\n")
    subprocess.run(["mosquitto_passwd", "-U", str(tmp_path / "users")], check=True)
    broker = Broker(tmp_path, f"allow_anonymous false\npassword_file {tmp_path / 'users'}\n")
    broker.start()
    config = tmp_path / "line.toml"
    config.write_text(
        '[source]\nkind = "folder"\npath = "."\n[archive]\nuri = "archive"\n[logs]\nfile = "log"\n'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\nusername = "line"\n'
    )
    try:
        with observers_for(read_config(config)) as observers:
            for observer in observers:
                observer(verdict(1))
            until(lambda: "refuses the connection: Not authorized" in (tmp_path / "log").read_text())
    finally:
        broker.stop()


@needs_a_broker
def test_a_line_under_the_units_command_is_seen_from_its_first_frame_to_its_end(
    tmp_path: Path, broker: Broker
) -> None:
    port = free_port()
    (tmp_path / "line-1.toml").write_text(
        '[source]\nkind = "folder"\npath = "frames"\nfollow = true\nline = "L1"\nsettle_seconds = 0.1\n'
        '[compress]\ncodec = "jpeg"\n[archive]\nuri = "archive"\n[logs]\n'
        f"[metrics]\nport = {port}\n"
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\ntopic = "plant/l1"\n'
    )
    write_png(tmp_path / "frames" / "1.png", np.random.default_rng(1).integers(0, 256, (16, 16)).astype(np.uint8))
    unit = (ROOT / "deploy" / "inspect-compress@.service").read_text()
    command = re.search(r"^ExecStart=/opt/inspect-compress/bin/inspect-compress (.*)$", unit, re.M)
    assert command
    assert "KillSignal=SIGTERM\n" in unit
    arguments = command[1].replace("/etc/inspect-compress/%i", str(tmp_path / "line-1")).split()

    with Plant(broker.port) as plant:
        line = subprocess.Popen(
            [sys.executable, "-c", "from inspect_compress.cli import main; main()", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: 'inspect_compress_frames_stored_total{line="L1"} 1.0' in figures_at(port))
        line.send_signal(signal.SIGTERM)
        printed, logged = line.communicate()
        plant.waits_for(lambda plant: [m["status"] for m in plant.of("status")] == ["online", "offline"])

    assert line.returncode == 0
    assert json.loads(printed)["ledger"]["stored"] == 1
    events = [json.loads(entry) for entry in logged.splitlines()]
    assert [entry["event"] for entry in events if entry["event"] != "log"] == ["started", "finished"]
    assert sum(report["frames"]["stored"] for report in plant.of("kpis")) == 1


def test_a_password_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    (tmp_path / "password").chmod(0o644)

    with pytest.raises(ConfigError, match=r"password_file: .* can be read by everybody; run `chmod"):
        Mqtt(settings(1883, username="line", password_file=tmp_path / "password"), "L1")


@pytest.mark.parametrize("name", ["password_file", "ca_file"])
def test_a_file_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[mqtt\] {name}: .*nowhere"):
        Mqtt(settings(1883, username="line", tls=True, **{name: tmp_path / "nowhere"}), "L1")


@pytest.mark.parametrize("topic", ["plant/#", "+/l1", "/plant", "plant/", "$SYS/plant"])
def test_a_topic_that_cannot_be_published_is_refused(tmp_path: Path, topic: str) -> None:
    config = tmp_path / "line.toml"
    config.write_text(
        f'[source]\nkind = "folder"\npath = "."\n[archive]\nuri = "a"\n[mqtt]\nhost = "h"\ntopic = "{topic}"\n'
    )

    with pytest.raises(ConfigError, match=r"\[mqtt\] topic: is .*leave out"):
        read_config(config)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "broker.pem", folder / "broker.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def figures_at(port: int) -> str:
    """What a line exposes; nothing, while it is not there yet."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def until(done: Callable[[], bool]) -> None:
    """Look often; the whole test's time limit ends what never comes."""
    while not done():
        threading.Event().wait(0.02)
