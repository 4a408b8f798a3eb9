"""A public S3 bucket over HTTPS: what is in it, and its files, resumed and checked.

Listing: ListObjectsV2 of the S3 API (docs.aws.amazon.com/AmazonS3/latest/API). No account and no library is needed.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from brainlm_data.errors import InputError

TIMEOUT_S = 60
TRIES = 6
CHUNK = 1 << 20
PAGES = 20_000  # of a listing, at most: 20 million objects
PAGE_BYTES = 1 << 26  # of a page, which has 1,000 objects
MOST_BYTES = 1 << 43  # of an object: twice what S3 allows
MD5 = re.compile(r"[0-9a-f]{32}")  # the ETag of an object that was not written in parts is its MD5
AGAIN = {408, 425, 429, 500, 502, 503, 504}
T = TypeVar("T")


class Passing(Exception):
    """A failure that may be gone at the next try."""


@dataclass(frozen=True)
class Item:
    """An object: its key, size in bytes, and ETag (without quotes)."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True)
class Bucket:
    """A bucket at an address such as https://s3.amazonaws.com/openneuro.org; waits `pause_s`, then twice that, ..."""

    url: str
    pause_s: float = 1.0

    def __post_init__(self) -> None:
        try:
            is_web = urllib.parse.urlsplit(self.url).scheme in ("http", "https")
        except ValueError:
            is_web = False
        if not is_web:
            raise InputError(f"{self.url}: no address of the web", "give --url https://...")

    def folders(self, prefix: str) -> tuple[list[str], list[Item]]:
        """Folders and files right below a prefix (which ends in /)."""
        found: list[str] = []
        items: list[Item] = []
        for page in self._pages({"prefix": prefix, "delimiter": "/"}):
            found += [_text(node, "Prefix") for node in page.findall("{*}CommonPrefixes")]
            items += _items(page)
        return found, items

    def items(self, prefix: str) -> list[Item]:
        """All files below a prefix."""
        return [item for page in self._pages({"prefix": prefix}) for item in _items(page)]

    def _pages(self, query: dict[str, str]) -> Iterator[ET.Element]:
        """The pages of a listing. Raises InputError for one that does not end, or ends early."""
        query = {"list-type": "2", "encoding-type": "url", **query}
        seen: set[str] = set()
        while len(seen) < PAGES:
            page = self._again(partial(self._page, query))
            yield page
            if page.findtext("{*}IsTruncated") != "true":
                return
            token = page.findtext("{*}NextContinuationToken") or ""
            if not token or token in seen:
                raise InputError(f"{self.url}: its listing is cut, and its next page is not named", "look at --url")
            seen.add(token)
            query = {**query, "continuation-token": token}
        raise InputError(f"{self.url}: its listing has more than {PAGES} pages", "is --url what it should be?")

    def _page(self, query: dict[str, str]) -> ET.Element:
        address = f"{self.url}/?{urllib.parse.urlencode(query)}"
        with self._open(urllib.request.Request(address)) as answer:
            content = answer.read(PAGE_BYTES + 1)
        if len(content) > PAGE_BYTES:
            raise InputError(f"{self.url}: a page of its listing has more than {PAGE_BYTES >> 20} MiB", "look at --url")
        try:
            page = ET.fromstring(content)
        except (ET.ParseError, LookupError, ValueError) as error:  # no XML, or in an encoding that nobody knows
            raise InputError(f"{self.url}: no listing of an S3 bucket ({error})", "look at --url") from error
        if not page.tag.endswith("ListBucketResult"):
            raise InputError(f"{self.url}: no listing of an S3 bucket ({page.tag})", "look at --url")
        return page

    def get(self, item: Item, target: Path, seen: Callable[[int], None] = lambda _: None) -> None:
        """Download a file whole and checked, or not at all; resumes where an earlier attempt ended.

        Parameters
        ----------
        seen: called with the number of bytes of each piece.

        Raises
        ------
        InputError: it cannot be downloaded, or its size or MD5 remains wrong.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{re.sub(r'[^0-9a-zA-Z]', '', item.etag)[:12]}.part")
        self._again(lambda: self._fetch(item, part, seen))
        part.replace(target)

    def _fetch(self, item: Item, part: Path, seen: Callable[[int], None]) -> None:
        there = part.stat().st_size if part.exists() else 0
        if there > item.size:
            part.unlink()
            there = 0
        if there < item.size or item.size == 0:
            request = urllib.request.Request(f"{self.url}/{urllib.parse.quote(item.key)}")
            if there:
                request.add_header("Range", f"bytes={there}-")
                request.add_header("If-Match", f'"{item.etag}"')  # never two versions in one file
            with self._open(request) as answer, part.open("ab" if answer.status == 206 else "wb") as sink:
                size = there if answer.status == 206 else 0
                while size <= item.size and (block := _read(answer)):
                    sink.write(block)  # an error of the disk is none of the network: not tried again
                    size += len(block)
                    seen(len(block))
        size = part.stat().st_size
        if size < item.size:
            raise Passing(f"{item.key}: the connection ended after {size} of {item.size} bytes")
        if size > item.size or (MD5.fullmatch(item.etag) and _md5(part) != item.etag):
            part.unlink()
            raise Passing(f"{item.key}: size or MD5 differ from the listing's")

    def _open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        try:
            answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in AGAIN:
                    raise Passing(f"{request.full_url}: {error}") from error
                remedy = "it changed while it was fetched: run again" if error.code == 412 else "is the name right?"
                raise InputError(f"{request.full_url}: {error}", remedy) from error
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            raise Passing(f"{request.full_url}: {error}") from error
        return answer

    def _again(self, call: Callable[[], T]) -> T:
        """A call, tried again after a passing failure."""
        for number in range(TRIES):
            try:
                return call()
            except Passing as error:
                if number == TRIES - 1:
                    raise InputError(f"{error} ({TRIES} tries)", "run the same command again: it goes on") from error
                time.sleep(self.pause_s * 2**number)
        raise AssertionError


def _read(answer: http.client.HTTPResponse) -> bytes:
    """The next piece of an answer, empty at its end."""
    try:
        return answer.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise Passing(str(error)) from error


def _items(page: ET.Element) -> list[Item]:
    """The objects of a page. Raises InputError for a size that is none."""
    found = []
    for node in page.findall("{*}Contents"):
        key, size = _text(node, "Key"), node.findtext("{*}Size") or ""
        if key.endswith("/"):  # a folder that somebody made by hand
            continue
        if not re.fullmatch(r"[0-9]{1,16}", size) or int(size) > MOST_BYTES:
            raise InputError(f"{key}: the listing gives {size!r} as its size in bytes", "is --url what it should be?")
        found.append(Item(key, int(size), (node.findtext("{*}ETag") or "").strip('"')))
    return found


def _text(node: ET.Element, name: str) -> str:
    return urllib.parse.unquote_plus(node.findtext(f"{{*}}{name}") or "")


def below(key: str, prefix: str, folder: Path) -> Path:
    """Where an object goes. Raises InputError for a key that would lie outside of the folder."""
    inside = PurePosixPath(key.removeprefix(prefix))
    odd = [part for part in inside.parts if part == ".." or "\\" in part or not part.isprintable()]
    if not key.startswith(prefix) or inside.is_absolute() or not inside.parts or odd:
        raise InputError(f"{key}: no name of a file below {prefix}", "is --url what it should be?")
    return folder.joinpath(*inside.parts)


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
