"""`inspect-compress` in processes that are forked from one which has imported what is heavy: two seconds less each.

Each is a process of its own, with its own arguments, folder, environment, output and exit status. What depends on how
Python itself starts and ends has to be tested with the program instead.
"""

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from inspect_compress.cli import main

ROOT = Path(__file__).parents[1]
LIMIT_S = 600  # longer than any of these commands takes beside others: what hangs is killed, and its test fails
HEAVY = ("inspect_compress.qarv.codec", "inspect_compress.classical", "pipelines.runner", "evaluation.pilot")


def run_warm(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """`inspect-compress` with these arguments, run to its end; as `subprocess.run` with captured text."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        words = [str(argument) for argument in arguments]
        wish = {
            "arguments": words,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "out": str(out),
            "err": str(err),
        }
        server = _server()
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps(wish) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(
            ["inspect-compress", *words], status, out.read_text("utf-8"), err.read_text("utf-8")
        )


@cache
def _server() -> "subprocess.Popen[str]":
    program = "from tests.warm import serve; serve()"
    server = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.kill)
    return server


def serve() -> None:
    """Answer each wish on standard input with an exit status."""
    for module in HEAVY:
        import_module(module)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(json.loads(line))
        _, ended = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(ended), flush=True)


def _become(wish: dict[str, Any]) -> NoReturn:
    """Do a wish as a process of its own, and end it without the second that taking all modules down would last."""
    signal.alarm(LIMIT_S)
    os.chdir(wish["cwd"])
    os.environ.clear()
    os.environ.update(wish["env"])
    for descriptor, path in ((0, os.devnull), (1, wish["out"]), (2, wish["err"])):
        opened = os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    added = wish["env"].get("PYTHONPATH", "")
    sys.path[1:1] = [path for path in added.split(os.pathsep) if path]
    sys.argv = ["inspect-compress", *wish["arguments"]]
    status: Any = 1
    try:
        main()
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # ends pools of threads, and waits for the others
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
