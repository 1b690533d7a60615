"""Where work on many frames is computed: on this machine's cores, or by Ray on one machine or several.

An engine knows nothing of frames. It is given a job, which each worker process sets itself up for once, and items;
it gives back each item's answer. Whatever the engine, the answers are the same, in the same order.

    engine = load_engine(EngineName.local)
    for rows in engine.map(CheckRows(uri, version), slices):
        ...
"""

from pipelines.engines.engine import Engine, EngineName, Job, load_engine
from pipelines.engines.local_engine import LocalEngine

__all__ = ["Engine", "EngineName", "Job", "LocalEngine", "load_engine"]
