"""What a line tells those around it: logs, Prometheus figures, MQTT messages. It changes nothing in the line.

Each of them is an observer of the flow's events (`pipelines.flow.events`), and none may hold the line up: what cannot
be delivered in time is discarded and counted.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.config import LineConfig
    from pipelines.flow.events import Observer


@contextmanager
def observers_for(config: "LineConfig") -> Iterator[list["Observer"]]:
    """The observers that a line's file asks for, for as long as the context lasts.

    Raises ConfigError where one cannot be set up: a port that is taken, a log file that cannot be written. A broker
    that cannot be reached is no such error; it is tried again until it answers.
    """
    from pipelines.observe.logs import Logs
    from pipelines.observe.metrics import Metrics
    from pipelines.observe.mqtt import Mqtt

    line = config.source.line
    with ExitStack() as stack:
        observers: list[Observer] = []
        logs = stack.enter_context(Logs(config.logs, line)) if config.logs else None
        metrics = stack.enter_context(Metrics(config.metrics, line)) if config.metrics else None
        if logs:
            observers.append(logs)
        if metrics:
            observers.append(metrics)
            if logs:
                metrics.count("log_lines_discarded", "Log lines that could not be written in time.", logs.discarded)
        if config.mqtt:
            mqtt = stack.enter_context(Mqtt(config.mqtt, line))
            observers.append(mqtt)
            if metrics:
                metrics.count("mqtt_discarded", "MQTT messages that could not be delivered.", mqtt.discarded)
                metrics.watch("mqtt_connected", "1 while the broker is connected, else 0.", mqtt.connected)
        yield observers
