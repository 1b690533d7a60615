"""Groups stay whole, whatever the dataset, and what is too little for a split is said with all its numbers."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspect_compress.errors import DatasetError
from pipelines.datasets import Dataset, Item, split_dataset

GROUPS = st.lists(
    st.tuples(st.integers(1, 12), st.floats(0, 0.8)),  # frames of a group, and how many of them are defective
    min_size=30,
    max_size=60,
)


def grouped(sizes: list[tuple[int, float]], split: str) -> list[Item]:
    return [
        Item(Path(f"{split}-{group}-{n}.png"), "pit" if n < share * size else "", None, split, f"{split} {group}")
        for group, (size, share) in enumerate(sizes)
        for n in range(size)
    ]


def splits_of_groups(dataset: Dataset) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for item in dataset.items:
        found[item.group].add(item.split)
    return found


@given(sizes=GROUPS, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_no_group_is_dealt_to_two_splits(sizes: list[tuple[int, float]], seed: int) -> None:
    padding = [(12, 0.3)] * 12  # enough of both classes that no split is too small

    dataset = split_dataset(Dataset(Path(), tuple(grouped(sizes + padding, ""))), seed=seed)

    assert all(len(splits) == 1 for splits in splits_of_groups(dataset).values())


@given(sizes=GROUPS, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_no_group_is_torn_apart_where_calibration_is_taken_from_train(
    sizes: list[tuple[int, float]], seed: int
) -> None:
    items = grouped([*sizes, *[(12, 0.3)] * 12], "train") + grouped([(12, 0.5)] * 2, "test")

    dataset = split_dataset(Dataset(Path(), tuple(items)), seed=seed)

    assert all(len(splits) == 1 for splits in splits_of_groups(dataset).values())
    assert "calibration" in {item.split for item in dataset.items}


def test_four_defective_frames_are_refused_with_all_numbers() -> None:
    items = grouped([(6, 0.0)] * 20 + [(2, 1.0)] * 2, "")

    with pytest.raises(DatasetError) as caught:
        split_dataset(Dataset(Path("parts"), tuple(items)))

    message = str(caught.value)
    assert "\n" not in message
    assert "parts: split test has" in message
    assert "at least 5 are needed" in message
    assert "the dataset has 4 defective ones, in 22 groups that are kept whole" in message
