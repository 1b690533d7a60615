"""Small named objects in a folder or below an object store's URI, whole or absent. What they mean is not known here.

Object stores take their credentials from the environment, by the same variables as the archive's table.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from inspect_compress.errors import StoreError

if TYPE_CHECKING:
    from obstore.store import ClientConfig

ANSWER_WITHIN, GIVE_UP_AFTER = timedelta(seconds=3), timedelta(seconds=5)
"""For one answer of an object store, and for a call with its retries: a line that ends waits no longer than that."""
RETRIES = 3
OBJECT_BYTES = 2**20
"""Most bytes of one object; more is not read into memory."""

_CONNECTION = ("allow_http", "allow_invalid_certificates", "proxy_url")


class Objects:
    """The objects at a place: a local folder, which is made when something is put there, or a URI such as `s3://…`.

    Names are relative, with `/` between their parts. Raises StoreError where the place cannot be reached, or an
    object cannot be read or written.

        holds = Objects("archive")
        holds.put_new("_holds/claim-7.json", b"{}")
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        self._folder = Path(place) if "://" not in self.place else None

    def names(self, folder: str, *, after: str = "") -> list[str]:
        """The names of all objects below `folder`, sorted; only those after the name `after`."""
        if self._is_missing():
            return []
        with self._errors(folder):
            found = obstore.list(self._store, folder, offset=after or None)
            return sorted(item["path"] for batch in found for item in batch)

    def get(self, name: str) -> bytes | None:
        """An object's bytes; None where there is none."""
        if self._is_missing():
            return None
        with self._errors(name):
            try:
                answer = obstore.get(self._store, name)
            except FileNotFoundError:
                return None
            if (size := answer.meta["size"]) > OBJECT_BYTES:
                raise StoreError(f"{self.place}, {name}: has {size} bytes; no more than {OBJECT_BYTES} are read")
            return bytes(answer.bytes())

    def put_new(self, name: str, data: bytes) -> bool:
        """Write an object that is not there yet; false, and nothing is written, where it is."""
        with self._errors(name):
            self._make_folder()
            try:
                obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return self.get(name) == data  # a retry, whose first answer was lost, meets its own work
            self._sync(name)
            return True

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""
        if self._is_missing():
            return
        with self._errors(name):
            try:
                obstore.delete(self._store, name)
            except FileNotFoundError:
                return

    @cached_property
    def _store(self) -> ObjectStore:
        if self._folder:
            return LocalStore(self._folder)
        return from_url(
            self.place,
            client_options=_connection(),
            retry_config={"max_retries": RETRIES, "retry_timeout": GIVE_UP_AFTER},
        )

    def _is_missing(self) -> bool:
        return self._folder is not None and not self._folder.is_dir()

    def _make_folder(self) -> None:
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)

    def _sync(self, name: str) -> None:
        """Have a local object survive a power cut."""
        if self._folder:
            path = self._folder / name
            for part in (path, path.parent):
                handle = os.open(part, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            advice = "" if self._folder else "; check the address, and the credentials in the environment"
            raise StoreError(f"{self.place}, {name}: {reason}{advice}") from error


def _connection() -> "ClientConfig":
    """How long to wait, and what the environment says: obstore looks there only where no option is given."""
    options: dict[str, Any] = {"timeout": ANSWER_WITHIN, "connect_timeout": ANSWER_WITHIN}
    options |= {name: value for name in _CONNECTION if (value := os.environ.get(f"AWS_{name.upper()}"))}
    return cast("ClientConfig", options)
