"""Files on the Hugging Face Hub, named `hf://owner/repo/path/in/repo[@revision]`.

They are fetched by the optional package huggingface_hub into its cache, where they stay. Its environment variables
hold: HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import attrs

from ardistill.errors import WeightsError
from ardistill.wording import message_of, shown

_ADDRESS = re.compile(r"hf:/+([\w.-]+)/([\w.-]+)/([^@]+?)(?:@([^@]+))?")
_PAGE = re.compile(
    r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)/(?:resolve|blob|raw)/([^/]+)/([^?#]+)(?:[?#].*)?"
)
_LOGIN = "log in with `hf auth login` or set HF_TOKEN"
_STATUS = {
    401: f"the Hub refused access; {_LOGIN}",
    403: f"the Hub refused access; {_LOGIN}",
    404: "the Hub does not have it; look up its name on the repository's page",
}


@attrs.frozen
class Address:
    """One file on the Hub; `revision` is a branch, a tag or a commit."""

    repo: str
    file: str
    revision: str | None

    def __str__(self) -> str:
        return f"hf://{self.repo}/{self.file}" + (f"@{self.revision}" if self.revision else "")

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.file.rpartition("/")[2]


def is_remote(path: Path | str) -> bool:
    """Whether a path is an address on the Hub; `Path` makes one slash of its two.

    >>> is_remote("hf://owner/repo/var_d16.pth"), is_remote(Path("hf://owner/repo/var_d16.pth"))
    (True, True)
    """
    return Path(path).parts[:1] == ("hf:",)


def address_of(path: Path | str) -> Address:
    """The parts of an address. Raises WeightsError where it is none."""
    text = Path(path).as_posix()
    found = _ADDRESS.fullmatch(text)
    if found is None or ".." in text.split("/"):
        raise WeightsError(
            f"{shown(text.replace('hf:/', 'hf://', 1))} is no address of a file; write hf://owner/repo/path/in/repo, "
            "with @revision behind it for one other than main"
        )
    owner, repo, file, revision = found.groups()
    return Address(f"{owner}/{repo}", file, revision)


def is_web(path: Path | str) -> bool:
    """Whether a path is the address of a web page or file."""
    return Path(path).parts[:1] in {("https:",), ("http:",)}


def web_address(path: Path | str) -> str:
    """As it was before `Path` made one slash of its two."""
    return Path(path).as_posix().replace(":/", "://", 1)


def instead_of(path: Path | str) -> str:
    """What to do with the address of a file on the web.

    >>> instead_of("https://huggingface.co/owner/repo/resolve/v2/var_d16.pth")
    'write hf://owner/repo/var_d16.pth@v2 instead'
    """
    found = _PAGE.fullmatch(web_address(path))
    if found is None:
        return "download it first"
    repo, revision, file = map(unquote, found.groups())
    return f"write {Address(repo, file, None if revision == 'main' else revision)} instead"


def fetched(path: Path | str) -> Path:
    """The local copy, fetched where it is not there or is out of date. Raises WeightsError with the reason."""
    address = address_of(path)
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise WeightsError(
            f"{address} lies on the Hugging Face Hub, and huggingface_hub is not installed; "
            "run `pip install ardistill[hub]`"
        ) from error
    try:
        with _quiet():
            return Path(hf_hub_download(address.repo, address.file, revision=address.revision))
    except Exception as error:  # of the package, of the network, of the disk
        raise WeightsError(f"{address} can't be fetched: {_reason(error, address)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the package says of each of its tries: we say how they ended."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _reason(error: Exception, address: Address) -> str:
    from huggingface_hub import errors

    # Without a copy of its own the package says only that it has none; the answer it got is behind that.
    answer = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else error
    reasons = {
        errors.GatedRepoError: f"{address.repo} is gated; accept its terms on its page, then {_LOGIN}",
        errors.RepositoryNotFoundError: f"there is no repository {address.repo} that you may read; mend its name, "
        f"or {_LOGIN}",
        errors.RevisionNotFoundError: f"{address.repo} has no revision {address.revision}; give a branch, a tag or a "
        "commit",
        errors.EntryNotFoundError: f"{address.repo} has no file {address.file}; look up its name on the repository's "
        "page",
        errors.FileMetadataError: "what answers is not the Hub; check HF_ENDPOINT, and the proxy",
        errors.HFValidationError: f"{address.repo} is no repository's name; write hf://owner/repo/path/in/repo",
    }
    for kind, reason in reasons.items():  # the first one is the narrowest
        if isinstance(answer, kind):
            return reason
    if isinstance(answer, errors.HfHubHTTPError):
        return _STATUS.get(answer.response.status_code, f"{message_of(answer)[:120]}; try again later")
    if answer is not error:
        return "the Hub can't be reached, and it was not fetched before; check the network"
    return f"{message_of(error)[:120]}; try again later"
