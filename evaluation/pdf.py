"""Prints a report to PDF with a Chromium or Chrome that is on the machine. Nothing here knows what is in the report.

A report is complete without: a browser that is missing or fails costs the PDF and nothing else.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
"""Names that browsers go by, in the order in which they are looked for."""
VARIABLE = "INSPECT_COMPRESS_BROWSER"
"""Environment variable that names the browser to use; empty: none."""
TIMEOUT = 120
"""Seconds for a report with all its pictures on a slow machine."""

_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-pdf-header-footer",
)


def find_browser() -> str | None:
    """The browser to print with; None where there is none, or where `VARIABLE` is set and empty."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return shutil.which(named) if named else None
    return next((found for found in map(shutil.which, BROWSERS) if found), None)


def print_pdf(page: Path, pdf: Path, browser: str) -> str | None:
    """Print the HTML file `page` to `pdf`; return None when it is done, else why not, in words.

    The browser starts with an empty profile of its own and goes with all its processes when it takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="inspect-compress-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        made = folder / "report.pdf"
        sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        command = [browser, *_FLAGS, *sandbox, f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={made}"]
        try:
            process = subprocess.Popen(
                [*command, page.resolve().as_uri()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            return f"{browser} cannot be started: {error.strerror or error}"
        status = _wait(process)
        if status is None:
            return f"{browser} took longer than {TIMEOUT} s"
        if status or not made.is_file() or not made.read_bytes().startswith(b"%PDF-"):
            return f"{browser} ended with status {status} and made no PDF"
        shutil.move(made, pdf)
    return None


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    """The process's status; None where it took too long and was ended."""
    try:
        return process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and where the system has groups of processes, its children."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
