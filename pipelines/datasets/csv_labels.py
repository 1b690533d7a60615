"""`labels.csv`: a row per frame, with its defect and, as far as they are known, mask, split and group.

ELPV's list, a `labels.csv` as well, is read here too: as it is published (three columns without a header), and
with a header.
"""

import re
from pathlib import Path

from inspect_compress.errors import DatasetError
from pipelines.datasets.items import GOOD_NAMES, SPLITS, Dataset, Item, checked
from pipelines.datasets.tables import Row, read_rows, read_text

LABELS = "labels.csv"

DEFECTIVE_PROBABILITY = 0.5
"""ELPV: a cell is defective from this probability on (the usual reading of its labels)."""

_REFUSED_DEFECTS = GOOD_NAMES | {"none", "nan"}
_ELPV_LINE = re.compile(r"(?P<image>\S+\.\w+)\s+(?P<defect_probability>[\d.]+)\s+(?P<module_type>mono|poly)\s*")
"""As published: `images/cell0001.png  1.0  mono`."""


def read_csv(path: Path) -> Dataset:
    """Read the table at `path`; images and masks are named relative to its folder.

    Columns: `image`, `defect` (empty for a good part) or `defect_probability` (0 to 1), and optionally `mask`,
    `split`, `group`. Others are not looked at. Raises DatasetError.
    """
    rows = _elpv_rows(path) or read_rows(path)
    columns = set(rows[0].values)
    if "image" not in columns or not columns & {"defect", "defect_probability"}:
        missing = "image" if "image" not in columns else "defect (or defect_probability)"
        raise DatasetError(f"{path}: has no column {missing}; the header is image,defect[,mask][,split][,group]")
    return checked(path.parent, (_item(path.parent, row) for row in rows), path)


def _elpv_rows(path: Path) -> list[Row]:
    """The rows of ELPV's list as it is published; none where the first line is not of its form."""
    lines = [(number, line) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    if not lines or not _ELPV_LINE.fullmatch(lines[0][1]):
        return []
    rows = []
    for number, line in lines:
        match = _ELPV_LINE.fullmatch(line)
        if match is None:
            raise DatasetError(f"{path}, line {number}: is not of ELPV's form: image, probability, mono or poly")
        rows.append(Row(f"{path}, line {number}", match.groupdict()))
    return rows


def _item(root: Path, row: Row) -> Item:
    if not row["image"]:
        raise DatasetError(f"{row.where}: image is empty")
    if row["split"] not in ("", *SPLITS):
        raise DatasetError(f"{row.where}: split is {row['split']!r}; it must be train, calibration, test or empty")
    return Item(
        image=root / row["image"],
        defect=_defect(row),
        mask=root / row["mask"] if row["mask"] else None,
        split=row["split"],
        group=row["group"],
    )


def _defect(row: Row) -> str:
    if "defect" in row.values:
        if row["defect"].lower() in _REFUSED_DEFECTS:
            raise DatasetError(f"{row.where}: defect is {row['defect']!r}; leave it empty for a good part")
        return row["defect"]
    text = row["defect_probability"]
    try:
        probability = float(text)
    except ValueError:
        probability = float("nan")
    if not 0 <= probability <= 1:
        raise DatasetError(f"{row.where}: defect_probability is {text!r}; it must be a number from 0 to 1")
    return "defective" if probability >= DEFECTIVE_PROBABILITY else ""
