"""From an address into a part, over broken connections."""

import re
import shutil
import time
from email.message import Message
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit

from ardistill.assets.partial import Part
from ardistill.assets.requesting import MIRROR, BrokenError, UnreachedError, requested
from ardistill.errors import WeightsError
from ardistill.wording import message_of

if TYPE_CHECKING:
    from ardistill.protocols import Progress  # which imports torch

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try; the count starts again whenever `_MIB` more has come."""

_MIB = 1 << 20
_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def download(url: str, part: Part, size: int | None, progress: "Progress") -> None:
    """Fills `part`, from where it stands, with what `url` has; `size` is what it should have, in bytes.

    Raises WeightsError. What has come stays in the part, but for a file that is another one.
    """
    part.resume(url)
    tries, furthest, reached = 0, part.size, False
    while True:
        try:
            _receive(url, part, size, progress)
        except BrokenError as error:
            reached = reached or not isinstance(error, UnreachedError)
            if not reached:
                raise WeightsError(
                    f"{urlsplit(url).hostname} can't be reached ({message_of(error)}); fetch {part.target.name} where "
                    f"there is a network, or {MIRROR}"
                ) from error
            tries, furthest = (0, part.size) if part.size >= furthest + _MIB else (tries, furthest)
            if tries == len(PAUSES):
                raise WeightsError(
                    f"{part.target.name} was fetched up to byte {part.size} and no further ({message_of(error)}); run "
                    f"the same command again to go on from there, or {MIRROR}"
                ) from error
            time.sleep(PAUSES[tries])
            tries += 1
        else:
            return


def _receive(url: str, part: Part, size: int | None, progress: "Progress") -> None:
    """One request, read to its end. Raises BrokenError where it has none."""
    headers: dict[str, str] = {}
    if part.size and part.validator is not None:  # else all of it is asked for
        headers = {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    try:
        with requested(url, headers, part.target.name) as answer:
            total = _begin(answer, url, part)
            if total is not None:
                _check_total(total, url, part, size)
            while part.size != total and (chunk := answer.read1(_CHUNK)):
                part.write(chunk)
                if total is not None and total >= _MIB:
                    progress.advance(part.size // _MIB, total // _MIB, f"{part.target.name}, MiB")
    except (HTTPException, OSError) as error:
        raise BrokenError(message_of(error) or type(error).__name__) from error
    if total is not None and part.size != total:
        raise BrokenError(f"the connection closed before the end, {total} bytes")


def _begin(answer: HTTPResponse | HTTPError, url: str, part: Part) -> int | None:
    """Makes the part ready for the bytes to come; how many there are in all, None where the server does not say."""
    headers = answer.headers
    status = answer.status
    if status == 416:
        if part.size and headers.get("Content-Range") == f"bytes */{part.size}":
            return part.size  # all of it was there already
        part.restart()
        raise BrokenError("the server has no such part of it")
    if "text/html" in headers.get("Content-Type", ""):
        raise WeightsError(
            f"{url} is a web page, not {part.target.name}: a login, or a proxy's; open it in a browser, or {MIRROR}"
        )
    if status == 200:
        part.restart()
        part.begin(url, _validator(headers))
        length = headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None
    found = _RANGE.fullmatch(headers.get("Content-Range", ""))
    same = _validator(headers) in (None, part.validator)
    if status != 206 or found is None or int(found[1]) != part.size or not same:
        part.restart()
        raise BrokenError("the server sent another part than it was asked for")
    return None if found[2] == "*" else int(found[2])


def _validator(headers: Message) -> str | None:
    """What names this version in If-Range: an ETag that promises equal bytes, else the date."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _check_total(total: int, url: str, part: Part, size: int | None) -> None:
    target = part.target
    if size is not None and total != size:
        part.restart()
        raise WeightsError(
            f"{url} has {total} bytes where {target.name} has {size}, so it is another file; {MIRROR}"
        )
    free = shutil.disk_usage(target.parent).free
    if total - part.size > free:
        raise WeightsError(
            f"{target.parent} has room for {free // _MIB} MiB, and {target.name} needs {(total - part.size) // _MIB} "
            "MiB more; make room, or give another folder with out=DIR"
        )
