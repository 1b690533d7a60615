"""An hour of a line, accelerated: frames arrive in a folder while the run that takes them is killed again and again.

What counts in the end: each frame is in the archive once, with the very pixels that arrived, and the ledger balances.
"""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from inspect_compress.images import read_image, sample_bytes
from pipelines.archive import Archive

CLI = [sys.executable, "-c", "from inspect_compress.cli import main; main()"]
HEAVY = [
    "inspect_compress.cli",
    "pipelines.commands",
    "pipelines.runner",
    "pipelines.observe",
    "inspect_compress.qarv.codec",
]
PIECES = 3
"""In how many pieces a slow writer writes a file."""
GIVE_UP = 600.0
"""Seconds without a commit after which a run is taken to hang."""


@dataclass
class Hour:
    """A folder that fills with copies of `pictures`, `count` in all, one each `seconds`, in so many `portions`.

    A portion begins to arrive when it is asked for: a faster machine does not see the end of the hour sooner.
    """

    folder: Path
    pictures: list[Path]
    count: int
    seconds: float
    portions: int
    seed: int = 0
    names: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        for number in range(self.count):
            picture = self.pictures[number % len(self.pictures)]
            self.names[f"{rng.choice(['left', 'right'])}/{number:05}{picture.suffix}"] = picture
        self._rng = rng
        self._portions = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._write, daemon=True)

    def begin(self) -> None:
        """Make the folder; frames will arrive."""
        for side in ("left", "right"):
            (self.folder / side).mkdir(parents=True)
        self._thread.start()

    def next_portion(self) -> None:
        """The next frames begin to arrive."""
        self._portions.release()

    def wait(self) -> None:
        """Wait until all frames have arrived."""
        self._thread.join()

    def _write(self) -> None:
        for number, (name, picture) in enumerate(self.names.items()):
            if number % -(-self.count // self.portions) == 0:
                self._portions.acquire()
            self._rng.choice([self._renamed, self._in_pieces])(self.folder / name, picture.read_bytes())
            time.sleep(self.seconds)

    def _renamed(self, file: Path, data: bytes) -> None:
        part = file.with_name(f"{file.name}.part")
        part.write_bytes(data)
        part.rename(file)

    def _in_pieces(self, file: Path, data: bytes) -> None:
        size = len(data) // PIECES + 1
        with file.open("wb") as output:
            for start in range(0, len(data), size):
                output.write(data[start : start + size])
                output.flush()
                time.sleep(self.seconds / PIECES)


def line(folder: Path, text: str, *, follow: bool) -> Path:
    """A line's TOML file that says the same for each run, but for whether it follows the folder."""
    config = folder / "line.toml"
    config.write_text(text.replace("follow = false", f"follow = {str(follow).lower()}"), encoding="utf-8")
    return config


def kill_again_and_again(hour: Hour, begin: Callable[[], "Victim"], archive: Path) -> None:
    """Kill the run once for each portion of the hour: at a random moment, before or after its next commit."""
    hour.begin()
    rng = random.Random(hour.seed)
    for _ in range(hour.portions):
        commits = _commits(archive) + rng.choice([0, 1])
        hour.next_portion()
        victim = begin()
        _await_commits(archive, commits, victim)
        time.sleep(rng.random())
        victim.kill()
    hour.wait()


class Victim:
    """A run in a process of its own, and of its own group."""

    def __init__(self, pid: int, running: Callable[[], bool], wait: Callable[[], object]) -> None:
        self._pid, self.running, self._wait = pid, running, wait

    def kill(self) -> None:
        """Kill the process as the system does where memory is short, or as a plug that is pulled."""
        assert self.running(), "the run ended by itself"
        os.kill(self._pid, signal.SIGKILL)
        self._wait()


def in_a_fork(config: Path) -> Victim:
    """A run in a process that need not import anything again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    process: BaseProcess = context.Process(target=_run, args=(config,), daemon=True)
    process.start()
    assert process.pid
    return Victim(process.pid, process.is_alive, process.join)


def by_the_command(config: Path) -> Victim:
    """A run as a user starts it."""
    process = subprocess.Popen([*CLI, "run", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Victim(process.pid, lambda: process.poll() is None, process.wait)


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """A command of the command line, to its end."""
    return subprocess.run([*CLI, *map(str, arguments)], capture_output=True, text=True, encoding="utf-8")


def check_balance(hour: Hour, config: Path, archive: Path) -> None:
    """Complete the work, and find each frame in the archive once, as it arrived; the ledger says the same."""
    completed = command("run", config, "--json")
    assert completed.returncode == 0, completed.stdout + completed.stderr

    balance: dict[str, Any] = json.loads(command("ledger", config, "--json").stdout)["balance"]
    counts = {name: balance[name] for name in ("captured", "stored", "failed", "dropped", "waiting", "lost")}
    none = dict.fromkeys(("failed", "dropped", "waiting", "lost"), 0)
    assert counts == {"captured": hour.count, "stored": hour.count} | none

    arrived = {name: _sha256(picture) for name, picture in hour.names.items()}
    stored = [(record.meta["path"], record.pixels_sha256) for record in Archive(archive, create=False).frames()]
    assert len(stored) == hour.count
    assert dict(stored) == arrived

    verified = command("archive", "verify", archive, "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _run(config: Path) -> None:
    from inspect_compress.cli import main

    with open(os.devnull, "w") as nothing:
        sys.stdout = sys.stderr = nothing
        sys.argv = ["inspect-compress", "run", str(config)]
        main()


def _await_commits(archive: Path, count: int, victim: Victim) -> None:
    since = time.monotonic()
    while victim.running() and _commits(archive) < count:
        assert time.monotonic() < since + GIVE_UP, "the run stores nothing"
        time.sleep(0.02)


def _commits(archive: Path) -> int:
    return len(list(archive.glob("_delta_log/*.json")))


def _sha256(picture: Path) -> str:
    return hashlib.sha256(sample_bytes(read_image(picture))).hexdigest()
