"""One request for a file, or for the rest of one, and what its failures mean.

Only https is spoken; a mirror on one's own machine may speak http. That holds for redirects too.
"""

from collections.abc import Mapping
from email.message import Message
from http.client import HTTPResponse
from ssl import SSLCertVerificationError
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from ardistill import __version__
from ardistill.errors import ConfigError, WeightsError
from ardistill.wording import message_of, shown

TIMEOUT_SECONDS = 60.0
"""Of silence, after which a connection counts as broken."""

MIRROR = "give a mirror with from=URL"
_OWN_MACHINE = ("localhost", "127.0.0.1", "::1")
_BUSY = (408, 429, 500, 502, 503, 504)


class BrokenError(Exception):
    """The transfer did not come to its end, and another try may; the message says why."""


class UnreachedError(BrokenError):
    """There was no connection at all."""


def check_address(url: str) -> None:
    """Raises ConfigError for what `from=` can't be."""
    if not (_is_safe(url) or is_own(url)):
        raise ConfigError(
            f"from={shown(url)} is no address to fetch from; give one that begins with https://, or with http:// on "
            "this machine (localhost)"
        )


def is_own(url: str) -> bool:
    """Whether it is plain http on this very machine."""
    return _split(url)[0] == "http" and _split(url)[1] in _OWN_MACHINE


def requested(url: str, headers: Mapping[str, str], what: str) -> HTTPResponse | HTTPError:
    """The answer: status 200, 206 or 416. `what` names the file in messages.

    Raises BrokenError where another try may help, WeightsError where it will not.
    """
    own = is_own(url)
    opener = OpenerDirector()
    for handler in (
        ProxyHandler({} if own else None),
        HTTPHandler(),
        HTTPSHandler(),
        UnknownHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        _Redirects(own),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", f"ardistill/{__version__}")]
    try:
        answer: HTTPResponse = opener.open(Request(url, headers=dict(headers)), timeout=TIMEOUT_SECONDS)  # noqa: S310, the scheme is checked
    except HTTPError as error:
        if error.code == 416:
            return error
        with error:
            raise _refusal(error, what) from error
    except URLError as error:
        reason = error.reason
        if isinstance(reason, SSLCertVerificationError):
            raise WeightsError(
                f"{_split(url)[1]} can't be trusted ({reason.verify_message}), so that {what} was not fetched from it; "
                f"check the clock and the certificates of this machine, or {MIRROR}"
            ) from error
        raise UnreachedError(getattr(reason, "strerror", None) or str(reason)) from error
    return answer


def _refusal(error: HTTPError, what: str) -> Exception:
    if 300 <= error.code < 400:
        return WeightsError(
            f"{what} can't be fetched: its address leads on to {shown(error.url)}, which is not https, or in a "
            f"circle; {MIRROR}"
        )
    said = f"{error.code} {error.reason}".strip()
    if error.code in _BUSY:
        return BrokenError(f"the server says {said}")
    doing = "check the address" if error.code in (404, 410) else "see whether its page asks for a login"
    return WeightsError(
        f"{what} can't be fetched from {error.url}: the server says {said}; {doing}, or {MIRROR}"
    )


class _Redirects(HTTPRedirectHandler):
    """Follows to where the first address could have been, too."""

    def __init__(self, own: bool) -> None:
        self._own = own

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        if not (_is_safe(newurl) or (self._own and is_own(newurl))):
            fp.close()
            raise WeightsError(
                f"{req.full_url} leads on to {shown(newurl)}, which is not https, and was not followed; {MIRROR}"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _is_safe(url: str) -> bool:
    scheme, host = _split(url)
    return scheme == "https" and bool(host)


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no number
    except ValueError as error:
        raise ConfigError(f"{shown(url)} is no address ({message_of(error)})") from error
    return parts.scheme, parts.hostname or ""
