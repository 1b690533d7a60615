"""Every error a user can meet, in one small tree.

Each message names the file, frame or setting, says what was wrong with it, and what to do about it.
"""


class InspectCompressError(Exception):
    """Base of all errors that are shown to a user as one line, without a traceback."""


class ImageError(InspectCompressError):
    """An input image cannot be read, or is of a kind that is not supported."""


class SourceError(InspectCompressError):
    """A source of frames cannot be opened, or gives frames of a kind that is not supported."""


class VerificationError(InspectCompressError):
    """An encoding does not decode to what it has to, or misses the floor that was asked for."""


class OutputError(InspectCompressError):
    """An output exists already, or cannot be written."""


class ConfigError(InspectCompressError):
    """A setting, option or name is missing, unknown or out of range."""


class DatasetError(InspectCompressError):
    """A dataset cannot be read, or holds too little to answer the question put to it."""


class DetectorError(InspectCompressError):
    """A detector cannot be trained, or returned something that is not a score per frame."""


class ArchiveError(InspectCompressError):
    """The archive cannot be opened or written, or a row in it is not sound."""


class ModelError(InspectCompressError):
    """A model cannot be added to the registry, or may not be used for what is asked."""


class EngineError(InspectCompressError):
    """Work on many frames cannot be started, or a worker of it failed."""


class EncryptionError(ArchiveError):
    """A payload cannot be decrypted: its key is missing or another one, or its bytes were changed."""


class StoreError(InspectCompressError):
    """A folder or an object store cannot be reached, or something in it cannot be read or written."""


class AuditError(InspectCompressError):
    """The audit log cannot be read or written, or is not asked in a way that it understands."""


class SpoolError(InspectCompressError):
    """A frame cannot be written to the spool, or its file there is damaged."""


class LedgerError(InspectCompressError):
    """The ledger of a line's frames cannot be read or written."""


class EvidenceError(InspectCompressError):
    """A run's folder is not whole, or does not agree with itself or with the frames that it was made from."""


class FormatError(InspectCompressError):
    """A compressed file cannot be decoded. Its subclasses say why."""


class UnknownVersionError(FormatError):
    """The file was written by a newer version of the format."""


class UnknownModelError(FormatError):
    """The file names a model whose weights are not installed."""


class DamagedFileError(FormatError):
    """The file is not a compressed frame, or its bytes were cut or changed."""


class CutShortError(DamagedFileError):
    """The file's first bytes are sound as far as they go, but more are needed."""


class OutOfStepError(FormatError):
    """The file's bytes are sound, but its symbols are not those that the encoder wrote."""

    def __init__(self) -> None:
        super().__init__(
            "the decoder has lost step with the encoder. A file of the models 29fa9c34a0a5b541 and 746dad7cd19f366f "
            "decodes only on the type of machine that made it; for any other, this machine or program is faulty"
        )
