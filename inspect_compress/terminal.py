"""Text from files and names as it may be shown on a terminal. What is shown is not known here."""


def printable(text: str) -> str:
    """`text` with what could steer a terminal, as an escape sequence in a frame's name, shown as its code."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
