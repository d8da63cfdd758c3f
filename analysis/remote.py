"""Images on a server or in an object store, named by a URL and read through fsspec.

It knows what a URL is and how to reach what lies there; nothing of images. fsspec is loaded when a URL is given: who
has all files on a disk needs neither it nor what a kind of server asks for besides (s3fs, gcsfs, aiohttp).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import StackError

if TYPE_CHECKING:
    from zarr.storage import FsspecStore

DESCRIPTIONS = ("zarr.json", ".zattrs", ".zgroup", ".zarray")


def is_url(text: str) -> bool:
    """Tell a URL from a path.

    Examples
    --------
    >>> is_url("s3://bucket/study"), is_url("/data/study"), is_url("data")
    (True, False, False)
    """
    return "://" in text


@dataclass(frozen=True)
class RemotePath:
    """A folder or file somewhere else; stands where a ``Path`` stands for reading.

    Parameters
    ----------
    url
        As fsspec writes it: ``s3://bucket/study``, ``https://server/study``, ``file:///data/study``.
    """

    url: str

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, part: str) -> RemotePath:
        return RemotePath(f"{self.url.rstrip('/')}/{part}")

    @cached_property
    def files(self) -> Any:
        """The fsspec file system in which it lies.

        Raises
        ------
        StackError
            fsspec, or what it needs for this kind of URL, is not installed.
        """
        try:
            import fsspec

            return fsspec.core.url_to_fs(self.url)[0]
        except ImportError as error:
            raise StackError(
                f"{self.url} cannot be reached: {error}; pip install 'samefield[cluster]', and what the URL needs"
            ) from error
        except ValueError as error:
            raise StackError(f"{self.url} cannot be reached: {error}; check how it begins") from error

    @property
    def inside(self) -> str:
        """Its name within that file system."""
        return str(self.files._strip_protocol(self.url)).rstrip("/")

    def store(self) -> FsspecStore:
        """Return it as a store that zarr reads."""
        from zarr.storage import FsspecStore

        _ = self.files
        return FsspecStore.from_url(self.url.rstrip("/"), read_only=True)

    def fingerprint(self) -> str:
        """Return what stands for the contents of a store of ours: its descriptions, and the size of every file.

        The descriptions hold the checksum of each plane, which is compared when the pixels are read; so these need not
        come over the network to tell that they are the same.
        """
        digest = blake2b(digest_size=20)
        with reaching(self.url):
            found = self.files.find(self.inside, detail=True)
            for name in sorted(found):
                digest.update(f"{name.removeprefix(self.inside)}:{found[name].get('size')}:".encode())
                if name.rpartition("/")[2] in DESCRIPTIONS:
                    digest.update(self.files.cat_file(name))
        if not found:
            raise StackError(f"{self.url} does not exist; check the URL")
        return digest.hexdigest()


def as_place(path: Path | RemotePath | str) -> Path | RemotePath:
    """Return a path, or a URL as what it names."""
    if isinstance(path, str):
        return RemotePath(path) if is_url(path) else Path(path)
    return path


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn what a server or the network refuses into a StackError."""
    try:
        yield
    except _refusals() as error:
        said = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise StackError(f"{url} cannot be reached: {said}; check the URL, the network and your rights") from error


def _refusals() -> tuple[type[Exception], ...]:
    """Return what file systems raise when they cannot, and the client of the web where it is installed."""
    raised: tuple[type[Exception], ...] = (OSError, ValueError, NotImplementedError)
    with suppress(ImportError):
        from aiohttp import ClientError

        raised += (ClientError,)
    return raised
