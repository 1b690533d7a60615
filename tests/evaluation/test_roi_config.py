"""roi.toml: the packaged example is sound and commented, and every mistake in one is told in one line."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from evaluation.roi_config import EXAMPLE, LEVERS, example_settings, is_example, read_roi_settings
from inspect_compress.errors import ConfigError
from tests.evaluation.roi_cases import make_settings


def write(folder: Path, line: str, by: str) -> Path:
    """The example with the line that begins with `line` in its section replaced; `section:line` tells the section."""
    section, _, start = line.rpartition(":")
    head, _, tail = EXAMPLE.read_text(encoding="utf-8").partition(f"[{section}]" if section else "\n\n")
    changed, count = re.subn(rf"^{start} = .*$", by, tail, count=1, flags=re.M)
    assert count == 1
    path = folder / "roi.toml"
    path.write_text(head + (f"[{section}]" if section else "\n\n") + changed, encoding="utf-8")
    return path


def test_a_copy_of_the_example_is_known_as_the_example(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "roi.toml")

    settings = read_roi_settings(tmp_path / "roi.toml")

    assert settings == example_settings()
    assert is_example(settings)


def test_one_changed_price_makes_it_the_plants_own(tmp_path: Path) -> None:
    path = write(tmp_path, "storage:price_per_gb_month", "price_per_gb_month = 3.5")

    assert not is_example(read_roi_settings(path))


def test_every_value_of_the_example_is_explained_as_an_example() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()

    values = [line for line in lines if re.match(r"[a-z_]+ = ", line)]

    assert len(values) == sum(len(_leaves(section)) for section in tomllib.loads("\n".join(lines)).values())
    assert all("# example: " in line for line in values)


@pytest.mark.parametrize(
    ("line", "by", "message"),
    [
        ("storage:price_per_gb_month", "", "[storage] price_per_gb_month: is missing; add it"),
        ("link:price_per_gb", "price_per_gb = -1", "[link] price_per_gb: input should be greater than or equal to 0"),
        ("plant:cost_of_escape", "cost_of_escape = nan", "[plant] cost_of_escape: input should be a finite number"),
        (
            "plant:defect_prevalence",
            "defect_prevalence = 1.2",
            "[plant] defect_prevalence: input should be less",
        ),
        ("plant:frames_per_day", "frames_per_day = 0", "[plant] frames_per_day: input should be greater than 0"),
        ("plant:frames_per_day", "frames_a_day = 9", "[plant] frames_per_day: is missing; add it (and 1 more)"),
        (
            "rollout.cloud:hardware",
            "hardware = -5",
            "[rollout.cloud] hardware: input should be greater",
        ),
        (
            "rollout.cloud:start_month",
            "start_month = 12",
            "[rollout]: start_month has to rise from pilot to",
        ),
        ("rollout.pilot:start_month", "start_month = 2", "[rollout]: the plan starts with the pilot"),
        ("rollout.edge:start_month", "start_month = 61", "[rollout]: the edge begins in month 61, after the horizon"),
        (
            "sensitivity:cost_of_escape",
            "cost_of_escape = [9000, 1]",
            "[sensitivity]: cost_of_escape has to be [low",
        ),
        (
            "sensitivity:cost_of_escape",
            "cost_of_escape = [1, inf]",
            "sensitivity.cost_of_escape, item 2: input",
        ),
        (
            "sensitivity:cost_of_escape",
            "discount_rate = [0.0, 3.0]",
            "[sensitivity]: discount_rate has to be [low",
        ),
        (
            "rollout.edge:verdict_on",
            'verdict_on = "both"',
            "[rollout.edge] verdict_on: input should be 'orig",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, line: str, by: str, message: str) -> None:
    path = write(tmp_path, line, by)

    with pytest.raises(ConfigError) as error:
        read_roi_settings(path)

    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_an_assumption_without_a_range_is_varied_by_percent() -> None:
    settings = make_settings(sensitivity={"percent": 50, "price_per_gb_month": [9, 12]})

    assert settings.range_of("price_per_gb_month") == (9, 12)
    assert settings.range_of("frames_per_day") == (5_000, 15_000)
    assert settings.range_of("rollout_costs") == (0.5, 1.5)


def test_no_range_leaves_what_is_possible() -> None:
    settings = make_settings(plant={"defect_prevalence": 0.9}, sensitivity={"percent": 100})

    for name in LEVERS:
        low, high = settings.range_of(name)
        assert 0 <= low <= high
    assert settings.range_of("defect_prevalence") == (0, 1)


def _leaves(value: object) -> list[object]:
    return [leaf for part in value.values() for leaf in _leaves(part)] if isinstance(value, dict) else [value]
