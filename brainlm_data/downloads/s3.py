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
        query = {"list-type": "2", "encoding-type": "url", **query}
        while True:
            page = self._again(partial(self._page, query))
            yield page
            token = page.findtext("{*}NextContinuationToken")
            if page.findtext("{*}IsTruncated") != "true" or not token:
                return
            query = {**query, "continuation-token": token}

    def _page(self, query: dict[str, str]) -> ET.Element:
        address = f"{self.url}/?{urllib.parse.urlencode(query)}"
        with self._open(urllib.request.Request(address)) as answer:
            content = answer.read()
        try:
            page = ET.fromstring(content)
        except ET.ParseError as error:
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
                try:
                    while block := answer.read(CHUNK):
                        sink.write(block)
                        seen(len(block))
                except (OSError, http.client.HTTPException) as error:
                    raise Passing(str(error)) from error
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


def _items(page: ET.Element) -> list[Item]:
    found = []
    for node in page.findall("{*}Contents"):
        key = _text(node, "Key")
        if not key.endswith("/"):  # a folder that somebody made by hand
            found.append(Item(key, int(node.findtext("{*}Size") or 0), (node.findtext("{*}ETag") or "").strip('"')))
    return found


def _text(node: ET.Element, name: str) -> str:
    return urllib.parse.unquote_plus(node.findtext(f"{{*}}{name}") or "")


def below(key: str, prefix: str, folder: Path) -> Path:
    """Where an object goes. Raises InputError for a key that would lie outside of the folder."""
    inside = PurePosixPath(key.removeprefix(prefix))
    if inside.is_absolute() or not inside.parts or any(part in ("..", "") or "\\" in part for part in inside.parts):
        raise InputError(f"{key}: no name of a file below {prefix}", "is --url what it should be?")
    return folder.joinpath(*inside.parts)


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
