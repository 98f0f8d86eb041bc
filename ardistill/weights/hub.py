"""Files on the Hugging Face Hub, named `hf://owner/repo/path/in/repo[@revision]`.

They are fetched by the optional package huggingface_hub into its cache, where they stay. Its environment variables
hold: HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

import re
from pathlib import Path

import attrs

from ardistill.errors import WeightsError
from ardistill.wording import message_of, shown

_ADDRESS = re.compile(r"hf:/+([\w.-]+)/([\w.-]+)/([^@]+?)(?:@([^@]+))?")
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
        return Path(hf_hub_download(address.repo, address.file, revision=address.revision))
    except Exception as error:  # of the package, of the network, of the disk
        raise WeightsError(f"{address} can't be fetched: {_reason(error, address)}") from error


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
