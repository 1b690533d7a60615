"""Where the registry of models lies, and which weight files are in it. What is inside them is not known here."""

import os
import re
from pathlib import Path

VARIABLE = "INSPECT_COMPRESS_MODELS"
"""The environment variable that names the registry's folder."""
DEFAULT = "~/.local/share/inspect-compress/models"
WEIGHTS, CARD, ENTRY = "model.safetensors", "card.md", "entry.json"
"""The files of one model, in a folder named by its fingerprint."""

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")


def registry_folder() -> Path:
    """The folder that the environment names, or the one of this user; it need not exist."""
    return Path(os.environ.get(VARIABLE) or DEFAULT).expanduser()


def registered_weights(folder: Path) -> dict[str, Path]:
    """The weight file of each model in a registry, by fingerprint, retired ones too."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    files = {name: folder / name / WEIGHTS for name in names if _FINGERPRINT.fullmatch(name)}
    return {name: file for name, file in files.items() if file.is_file()}
