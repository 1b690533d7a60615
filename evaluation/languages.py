"""The languages that a report can be asked for on the command line. Its words are in `evaluation.report.texts`."""

from enum import StrEnum


class Language(StrEnum):
    """One, or both: then `report.html` is English and `report.ja.html` Japanese."""

    en = "en"
    ja = "ja"
    both = "both"

    @property
    def languages(self) -> tuple[str, ...]:
        """In the order in which they are made."""
        return ("en", "ja") if self is Language.both else (self.value,)
