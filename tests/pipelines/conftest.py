"""Ray, started once for all tests that need it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

JOBS = Path(__file__).parent / "plant_jobs"


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """Ray on two cores as a user may have started it already."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("PYTHONPATH", str(JOBS), prepend=os.pathsep)
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
        yield
        ray.shutdown()
