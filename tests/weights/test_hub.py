"""Files on the Hub, fetched from a server of our own that answers as the Hub does."""

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from ardistill.__main__ import main
from ardistill.errors import WeightsError
from ardistill.weights import hub, is_remote, read_weights
from tests.weights.making import TENSORS, save

COMMIT = "c0ffee" * 6 + "c0ff"


ANSWERS = {
    "/o/none/": (404, "RepoNotFound"),
    "/o/private/": (401, "RepoNotFound"),
    "/o/gated/": (403, "GatedRepo"),
    "/o/closed/": (403, None),
    "/o/odd/": (418, None),
    "/o/strange/": (200, None),
    "/o/r/resolve/never/": (404, "RevisionNotFound"),
}
"""Status and error code by the beginning of a path."""


class Hub(ThreadingHTTPServer):
    """Serves /o/r/resolve/{main,old}/...; `asked` counts requests by method and path."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = files
        self.asked: Counter[str] = Counter()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def elsewhere(self) -> str:
        """The same server under the name of another host."""
        return f"http://localhost:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None: ...

    def _answer(self) -> None:
        self.server.asked[f"{self.command} {self.path}"] += 1
        for start, (status, code) in ANSWERS.items():
            if self.path.startswith(start):
                return self._send(status, {"X-Error-Code": code} if code else {})
        if self.path.startswith("/stored/"):
            return self._send(200, {}, self.server.files[self.path.removeprefix("/stored/")])
        revision, _, name = self.path.removeprefix("/o/r/resolve/").partition("/")
        if revision not in {"main", "old"} or name not in self.server.files:
            return self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        content = self.server.files[name]
        tag = hashlib.sha256(content).hexdigest()
        if name.startswith("large/"):  # as for files in LFS: the bytes lie elsewhere
            linked = {
                "X-Linked-Etag": f'"{tag}"',
                "X-Linked-Size": str(len(content)),
                "X-Repo-Commit": COMMIT,
            }
            return self._send(302, {**linked, "Location": f"{self.server.elsewhere}/stored/{name}"})
        return self._send(200, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}, content)

    def _send(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@contextmanager
def served(files: dict[str, bytes]):
    with Hub(files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


READ = """
import json, sys, time
time.sleep = lambda seconds: None  # huggingface_hub waits longer and longer between its tries
from pathlib import Path
from ardistill.errors import WeightsError
from ardistill.weights import read_weights
answers = []
for address in sys.argv[1:]:
    try:
        read = read_weights(Path(address))
        answers.append([str(read.path), {key: value.tolist() for key, value in read.tensors.items()}])
    except WeightsError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def python(home: Path, endpoint: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, since huggingface_hub reads its environment when it is imported."""
    kept = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    kept = {key: value for key, value in kept.items() if not key.startswith(("HF_", "HUGGING"))}
    quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    env = {**kept, **quiet, "HF_HOME": str(home), "HF_ENDPOINT": endpoint}
    return subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, check=False)


def answers(home: Path, endpoint: str, *addresses: str) -> list:
    done = python(home, endpoint, "-c", READ, *addresses)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


REFUSED = {
    "hf://o/none/a.pth": "there is no repository o/none that you may read; mend its name, or log in with",
    "hf://o/private/a.pth": "there is no repository o/private that you may read",
    "hf://o/gated/a.pth": "o/gated is gated; accept its terms on its page, then log in with `hf auth login`",
    "hf://o/closed/a.pth": "the Hub refused access; log in with",
    "hf://o/odd/a.pth": "418",
    "hf://o/strange/a.pth": "what answers is not the Hub; check HF_ENDPOINT, and the proxy",
    "hf://o/r/nothing.pth": "o/r has no file nothing.pth; look up its name",
    "hf://o/r/a.pth@never": "o/r has no revision never; give a branch, a tag or a commit",
    "hf://o/.r./a.pth": "o/.r. is no repository's name",
    "hf://o/r/page.pth": "this is an HTML page, not weights",
}


def test_files_are_fetched_once_and_refusals_are_one_sentence(tmp_path):
    names = ["a.pth", "sub/b.pth", "large/c.pth"]
    files = {
        name: save(tmp_path / "file.pth", {"model": {"w": torch.tensor(n)}}).read_bytes()
        for n, name in enumerate(names)
    }
    files["page.pth"] = b"<html>"
    good = {
        "hf://o/r/a.pth": 0,
        "hf://o/r/sub/b.pth@old": 1,
        "hf://o/r/large/c.pth": 2,
        "hf://o/r/a.pth@main": 0,
    }
    with served(files) as server:
        read = answers(tmp_path / "home", server.address, *good, *REFUSED)
        for (path, tensors), number in zip(read, good.values(), strict=False):
            assert tensors == {"w": number}
            assert Path(path).is_relative_to(tmp_path / "home")
        assert server.asked["GET /o/r/resolve/main/a.pth"] == 1
        assert server.asked["GET /o/r/resolve/old/sub/b.pth"] == 1
        assert server.asked["GET /stored/large/c.pth"] == 1
        for (address, said), answer in zip(REFUSED.items(), read[len(good) :], strict=True):
            assert said in answer
            assert "\n" not in answer
            assert answer.startswith(f"{address} can't be fetched: ") or address == "hf://o/r/page.pth"
        gone = server.address
    # The network is gone: what was fetched stays, the rest is refused, and the package says nothing of its own.
    done = python(tmp_path / "home", gone, "-c", READ, "hf://o/r/a.pth", "hf://o/r/other.pth")
    assert (done.returncode, done.stderr) == (0, "")
    stays, refused = json.loads(done.stdout)
    assert stays == read[0]
    assert refused == (
        "hf://o/r/other.pth can't be fetched: the Hub can't be reached, and it was not fetched before; "
        "check the network"
    )


def test_the_packages_log_is_as_before_afterwards(monkeypatch):
    import huggingface_hub

    assert huggingface_hub.hf_hub_download  # which sets the level when it is imported
    logger = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(logger, "level", logging.INFO)
    with pytest.raises(WeightsError, match="is no repository's name"):
        read_weights("hf://o/.r./a.pth")
    assert logger.level == logging.INFO


def test_convert_takes_addresses(tmp_path):
    (tmp_path / "out").mkdir()
    with served({"sub/a.pth": save(tmp_path / "a.pth", TENSORS).read_bytes()}) as server:
        words = ["-m", "ardistill", "convert", "hf://o/r/sub/a.pth@old", f"out={tmp_path / 'out'}"]
        done = python(tmp_path / "home", server.address, *words)
    assert done.returncode == 0, done.stderr
    read = read_weights(tmp_path / "out" / "a.safetensors")
    assert read.about["source"]["file"] == "hf://o/r/sub/a.pth@old"
    assert done.stdout.startswith("hf://o/r/sub/a.pth@old -> ")


def test_without_the_package_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["convert", "hf://o/r/a.pth", f"out={tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        "ardistill: hf://o/r/a.pth lies on the Hugging Face Hub, and huggingface_hub is not installed; "
        "run `pip install ardistill[hub]`\n"
    )


@pytest.mark.parametrize(
    "address",
    [
        "hf://",
        "hf://o",
        "hf://o/r",
        "hf://o/r/",
        "hf://o/r/@main",
        "hf://o/r/a@",
        "hf://o/r/a@b@c",
        "hf://o/r/../a",
    ],
)
def test_what_is_no_address_is_said_to_be_none(address):
    for given in (address, Path(address)):
        with pytest.raises(WeightsError, match="is no address of a file; write hf://owner/repo/path/in/repo"):
            read_weights(given)


def test_addresses_survive_being_paths():
    for text in ("hf://o/r/a.pth", "hf://o/r.x/sub/a-b.pth@refs/pr/1"):
        assert is_remote(text)
        assert is_remote(Path(text))
        assert str(hub.address_of(text)) == str(hub.address_of(Path(text))) == text
    address = hub.address_of("hf://o/r.x/sub/a-b.pth@refs/pr/1")
    assert (address.repo, address.file, address.revision, address.name) == (
        "o/r.x",
        "sub/a-b.pth",
        "refs/pr/1",
        "a-b.pth",
    )
    for text in ("a.pth", "/hf:/o/r/a", "hf/o/r", "https://o/r/a"):
        assert not is_remote(text)
