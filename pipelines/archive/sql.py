"""Predicates in the SQL that Delta Lake's writers take. Values are quoted here and nowhere else."""

from collections.abc import Iterable
from datetime import date, datetime


def is_value(column: str, value: str | int | date | None) -> str:
    """True where the column holds the value; None stands for null."""
    return f"{column} IS NULL" if value is None else f"{column} = {literal(value)}"


def is_among(column: str, values: Iterable[str | int]) -> str:
    """True where the column holds one of the values, of which there is at least one."""
    return f"{column} IN ({', '.join(map(literal, values))})"


def literal(value: str | int | date | datetime) -> str:
    """A value as SQL writes it; a time is in UTC."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):
        return f"CAST('{value.isoformat()}' AS TIMESTAMP WITH TIME ZONE)"
    if isinstance(value, date):
        return f"CAST('{value.isoformat()}' AS DATE)"
    return "'" + value.replace("'", "''") + "'"
