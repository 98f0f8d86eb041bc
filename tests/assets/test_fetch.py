"""`ardistill fetch` against a server that fails in many ways, all of it real but the distance."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ardistill.assets import catalogue, downloading, fetch, located
from ardistill.assets.finding import torch_cache
from ardistill.assets.hashing import record_of
from ardistill.assets.partial import part_of
from ardistill.cli.fetch import main
from ardistill.errors import ArdistillError, ConfigError, WeightsError
from tests.assets.conftest import CONTENT
from tests.assets.serving import Mirror, serving


class Silent:
    def advance(self, done: int, total: int, what: str) -> None: ...


def leave_part(mirror: Mirror, n: int, store: Path, name: str = "pinned") -> None:
    """What an interrupted process leaves after n bytes."""
    mirror.cuts = [n] + [0] * len(downloading.PAUSES)
    with pytest.raises(WeightsError, match=rf"{name}\.bin was fetched up to byte {n} and no further"):
        main([name, f"from={mirror.address}"])
    assert (store / f"{name}.bin.part").stat().st_size == n
    mirror.asked.clear()


def left(store: Path) -> set[str]:
    return {path.name for path in store.iterdir()}


def test_fetches_compares_and_puts_in_place(mirror, store, capsys):
    assert main(["pinned", f"from={mirror.address}"]) == 0
    assert (store / "pinned.bin").read_bytes() == CONTENT
    assert left(store) == {"pinned.bin"}
    said = capsys.readouterr().out
    assert f"pinned -> {store / 'pinned.bin'}: 0.0 MiB, sha256 " in said
    assert "as published" in said
    assert "a small file; licence: MIT; https://" in said
    assert located("pinned", None, "eval.weights=PATH") == store / "pinned.bin"


def test_what_is_there_is_not_fetched_again(mirror, store, capsys):
    main(["pinned", f"from={mirror.address}"])
    mirror.asked.clear()
    assert main(["pinned", f"from={mirror.address}"]) == 0
    assert mirror.asked == []
    assert "pinned is there already" in capsys.readouterr().out


def test_what_torchs_cache_has_is_not_fetched_again_unless_a_folder_is_asked_for(mirror, tmp_path, capsys):
    torch_cache().mkdir(parents=True)
    (torch_cache() / "pinned.bin").write_bytes(CONTENT)
    main(["pinned", f"from={mirror.address}"])
    assert mirror.asked == []
    assert str(torch_cache()) in capsys.readouterr().out
    main(["pinned", f"from={mirror.address}", f"out={tmp_path}"])
    assert (tmp_path / "pinned.bin").read_bytes() == CONTENT


def test_a_wrong_file_is_replaced(mirror, store):
    store.mkdir(parents=True)
    (store / "pinned.bin").write_bytes(b"damaged")
    main(["pinned", f"from={mirror.address}"])
    assert (store / "pinned.bin").read_bytes() == CONTENT


def test_without_a_published_hash_the_first_one_is_recorded_and_kept_to(mirror, store, capsys):
    main(["loose", f"from={mirror.address}"])
    record = record_of(store / "loose.bin")
    assert record.read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}  loose.bin\n"
    assert "not pinned: no hash is published" in capsys.readouterr().out
    (store / "loose.bin").unlink()
    mirror.content = CONTENT[::-1]
    with pytest.raises(
        WeightsError, match=r"was recorded when it was first fetched.*remove .*loose\.bin\.sha256"
    ):
        main(["loose", f"from={mirror.address}"])
    assert left(store) == {record.name}
    record.unlink()
    main(["loose", f"from={mirror.address}"])
    assert (store / "loose.bin").read_bytes() == CONTENT[::-1]


def test_a_file_put_there_by_hand_is_recorded(store, capsys):
    store.mkdir(parents=True)
    (store / "loose.bin").write_bytes(CONTENT)
    main(["loose"])
    assert record_of(store / "loose.bin").read_text().startswith(hashlib.sha256(CONTENT).hexdigest())
    assert "not pinned" in capsys.readouterr().out


def test_a_connection_that_breaks_is_taken_up_where_it_broke(mirror, store):
    mirror.cuts = [7000, 5000]
    main(["pinned", f"from={mirror.address}"])
    assert (store / "pinned.bin").read_bytes() == CONTENT
    assert mirror.starts() == [0, 7000, 12000]
    assert [headers.get("If-Range") for headers in mirror.asked] == [None, '"first"', '"first"']


def test_another_process_goes_on_from_what_is_there(mirror, store):
    leave_part(mirror, 9000, store)
    main(["pinned", f"from={mirror.address}"])
    assert mirror.starts() == [9000]
    assert (store / "pinned.bin").read_bytes() == CONTENT
    assert left(store) == {"pinned.bin"}


def test_a_server_without_ranges_is_asked_for_all_of_it(mirror, store):
    leave_part(mirror, 9000, store)
    mirror.ranges = False
    main(["pinned", f"from={mirror.address}"])
    assert (store / "pinned.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("careless", [False, True])
@pytest.mark.parametrize("name", ["pinned", "loose"])
def test_a_file_that_changed_meanwhile_is_fetched_anew(mirror, store, name, careless):
    mirror.careless = careless
    mirror.content, mirror.tag = bytes(len(CONTENT)), '"old"'
    leave_part(mirror, 9000, store, name)
    mirror.content, mirror.tag = CONTENT, '"new"'
    main([name, f"from={mirror.address}"])
    assert (store / f"{name}.bin").read_bytes() == CONTENT


def test_a_change_between_two_tries_of_one_process(mirror, store):
    class Turncoat(Silent):
        """Changes the file at the server while its first part is on the way."""

        def advance(self, done: int, total: int, what: str) -> None:
            mirror.content, mirror.tag = big, '"new"'

    big = CONTENT * 200
    mirror.content, mirror.tag, mirror.cuts = bytes(len(big)), '"old"', [1_500_000]
    store.mkdir(parents=True)
    url = f"{mirror.address}loose.bin"
    made = fetch(catalogue()["loose"], store, Turncoat(), url=url, waiting=lambda: None)
    assert made.path.read_bytes() == big
    assert made.sha256 == hashlib.sha256(big).hexdigest()


def test_a_version_without_a_name_is_never_gone_on_with(mirror, store):
    mirror.tag = None
    mirror.cuts = [9000]
    main(["pinned", f"from={mirror.address}"])
    assert mirror.starts() == [0, 0]
    assert (store / "pinned.bin").read_bytes() == CONTENT


def test_a_weak_tag_names_no_bytes(mirror, store):
    mirror.tag, mirror.cuts = 'W/"weak"', [9000]
    main(["pinned", f"from={mirror.address}"])
    assert mirror.starts() == [0, 0]


def test_a_part_from_another_place_is_not_believed(mirror, store):
    leave_part(mirror, 9000, store)
    mirror.shift = 10
    main(["pinned", f"from={mirror.address}"])
    assert mirror.starts() == [9000, 0]
    assert (store / "pinned.bin").read_bytes() == CONTENT


def test_a_part_of_another_address_is_begun_anew(mirror, store):
    leave_part(mirror, 9000, store)
    main(["pinned", f"from={mirror.address}elsewhere/"])
    assert mirror.starts() == [0]


@pytest.mark.parametrize("note", ["", "[]", '{"url": 1}', None])
def test_a_part_whose_note_is_damaged_is_begun_anew(mirror, store, note):
    leave_part(mirror, 9000, store)
    path = store / "pinned.bin.part.json"
    path.unlink() if note is None else path.write_text(note)
    main(["pinned", f"from={mirror.address}"])
    assert mirror.starts() == [0]


def test_a_part_that_is_all_of_it_needs_no_more_bytes(mirror, store):
    leave_part(mirror, 9000, store)
    (store / "pinned.bin.part").write_bytes(CONTENT)
    main(["pinned", f"from={mirror.address}"])
    assert mirror.starts() == [len(CONTENT)]
    assert (store / "pinned.bin").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_begun_anew(mirror, store):
    leave_part(mirror, 9000, store)
    (store / "pinned.bin.part").write_bytes(CONTENT + b"more")
    main(["pinned", f"from={mirror.address}"])
    assert mirror.starts() == [len(CONTENT) + 4, 0]
    assert (store / "pinned.bin").read_bytes() == CONTENT


def test_answers_without_a_length(mirror, store):
    mirror.chunked = True
    main(["pinned", f"from={mirror.address}"])
    assert (store / "pinned.bin").read_bytes() == CONTENT


def test_an_empty_file(mirror, store):
    mirror.content = b""
    with pytest.raises(WeightsError, match="is not pinned: its sha256 begins with e3b0c442"):
        main(["pinned", f"from={mirror.address}"])
    assert left(store) == set()


def test_wrong_bytes_are_removed(mirror, store):
    mirror.content = CONTENT[::-1]
    with pytest.raises(
        WeightsError,
        match=r"is not pinned: its sha256 begins with \w{8} where \w{8} is published; it was removed",
    ) as caught:
        main(["pinned", f"from={mirror.address}"])
    assert caught.value.exit_code == 2
    assert left(store) == set()


def test_a_damaged_part_does_not_become_the_file(mirror, store):
    leave_part(mirror, 9000, store)
    (store / "pinned.bin.part").write_bytes(bytes(9000))
    with pytest.raises(WeightsError, match="is not pinned"):
        main(["pinned", f"from={mirror.address}"])
    assert left(store) == set()
    main(["pinned", f"from={mirror.address}"])


def test_a_file_of_another_size_is_refused_before_it_comes(mirror, store):
    mirror.content = CONTENT + b"more"
    with pytest.raises(
        WeightsError, match=r"has 20004 bytes where sized\.bin has 20000, so it is another file"
    ):
        main(["sized", f"from={mirror.address}"])
    assert left(store) == set()


def test_a_web_page_is_not_a_file(mirror, store):
    mirror.kind = "text/html; charset=utf-8"
    with pytest.raises(WeightsError, match=r"is a web page, not loose\.bin"):
        main(["loose", f"from={mirror.address}"])
    assert left(store) == set()


@pytest.mark.parametrize(("status", "advice"), [(404, "check the address"), (403, "asks for a login")])
def test_refusals_are_told_at_once(mirror, store, status, advice):
    mirror.statuses = [status]
    with pytest.raises(WeightsError, match=rf"the server says {status} .*{advice}, or give a mirror"):
        main(["pinned", f"from={mirror.address}"])
    assert len(mirror.asked) == 1
    assert left(store) == set()


def test_a_busy_server_is_asked_again(mirror, store):
    mirror.statuses = [503, 500, 429]
    main(["pinned", f"from={mirror.address}"])
    assert (store / "pinned.bin").read_bytes() == CONTENT


def test_a_server_that_stays_broken_is_given_up(mirror, store):
    mirror.statuses = [503] * 50
    said = (
        r"up to byte 0 and no further \(the server says 503 Service Unavailable\); run the same command again"
    )
    with pytest.raises(WeightsError, match=said):
        main(["pinned", f"from={mirror.address}"])
    assert len(mirror.asked) == len(downloading.PAUSES) + 1
    assert left(store) == set()


def test_no_network(store):
    with serving(Mirror()) as gone:
        address = gone.address
    with pytest.raises(
        WeightsError, match=r"^127\.0\.0\.1 can't be reached \(Connection refused\); fetch pinned\.bin"
    ):
        main(["pinned", f"from={address}"])
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1 can't be reached"):
        main(["pinned"])  # its publisher's address, where nothing listens
    assert left(store) == set()


def test_a_server_without_a_certificate_that_holds(mirror, store):
    """Plain http answers a https greeting with nothing that TLS knows."""
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1 can't be reached \("):
        main(["pinned", f"from={mirror.address.replace('http', 'https')}"])


def test_redirects_to_http_elsewhere_are_refused(mirror, store):
    mirror.location = "http://example.org/pinned.bin"
    with pytest.raises(
        WeightsError, match=r"leads on to 'http://example\.org/pinned\.bin', which is not https"
    ):
        main(["pinned", f"from={mirror.address}"])
    for location in ("file:///etc/passwd", mirror.address):
        mirror.location = location
        with pytest.raises(
            WeightsError, match=rf"leads on to '{location}.*', which is not https, or in a circle"
        ):
            main(["pinned", f"from={mirror.address}"])


def test_redirects_on_the_same_machine_are_followed_with_their_range(mirror, store):
    with serving(Mirror()) as first:
        first.location = f"{mirror.address}moved"
        mirror.cuts = [9000]
        main(["pinned", f"from={first.address}"])
    assert mirror.starts() == [0, 9000]
    assert (store / "pinned.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/a",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "example.org",
        "https://",
        "/tmp/a",
    ],
)
def test_addresses_that_are_not_https(address):
    with pytest.raises(ConfigError, match="is no address to fetch from; give one that begins with https://"):
        main(["pinned", f"from={address}"])


def test_addresses_that_are_none():
    with pytest.raises(ConfigError, match="'https://a:port/' is no address"):
        main(["pinned", "from=https://a:port/"])


def test_words_that_do_not_fit(mirror, tmp_path):
    with pytest.raises(ConfigError, match="did you mean pinned"):
        main(["loose", "pined", f"from={mirror.address}"])
    assert mirror.asked == []  # all names are read before anything is fetched
    with pytest.raises(ConfigError, match="lacks the name"):
        main([f"from={mirror.address}"])
    with pytest.raises(ConfigError, match="several are asked for"):
        main(["loose", "pinned", f"from={mirror.address}a"])
    with pytest.raises(ConfigError, match="unknown key outt; did you mean out"):
        main(["loose", "outt=x"])
    with pytest.raises(ConfigError, match="is no folder; make it first"):
        main(["loose", f"out={tmp_path / 'none'}"])


def test_a_mirror_of_one_file(mirror, tmp_path):
    main(["pinned", f"from={mirror.address}under/another-name", f"out={tmp_path}"])
    assert (tmp_path / "pinned.bin").read_bytes() == CONTENT


def test_a_folder_that_takes_no_files(mirror):
    with pytest.raises(
        WeightsError, match=r"^/proc can't be written to \(.*\); give another folder with out=DIR"
    ):
        main(["pinned", f"from={mirror.address}", "out=/proc"])


def test_a_store_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARDISTILL_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"can't be made \(Not a directory\)"):
        main(["pinned"])


def test_a_folder_in_the_files_place(mirror, store):
    (store / "pinned.bin").mkdir(parents=True)
    with pytest.raises(WeightsError, match="is a folder where pinned should be"):
        main(["pinned", f"from={mirror.address}"])


def test_a_disk_without_room_is_told_before(mirror, store):
    mirror.length = 10**17
    with pytest.raises(WeightsError, match=r"has room for \d+ MiB, and loose\.bin needs \d+ MiB more"):
        main(["loose", f"from={mirror.address}"])
    assert left(store) == set()


CHILD = """
import resource, signal, sys
from ardistill.assets import Asset, catalogue
from ardistill.__main__ import main
told = dict(about="a", url="https://127.0.0.1:1/", page="https://127.0.0.1:1/")
catalogue()["pinned"] = Asset(name="pinned", file="pinned.bin", sha256=sys.argv[2], sha256_by="publisher", **told)
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
if sys.argv[3:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
code = main(["fetch", "pinned", "from=" + sys.argv[1]])
assert "torch" not in sys.modules
sys.exit(code)
"""


@contextmanager
def child(mirror: Mirror, *more: str) -> Iterator[subprocess.Popen]:
    published = hashlib.sha256(CONTENT).hexdigest()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, mirror.address, published, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_disk_that_fills_up_on_the_way(mirror, store):
    with child(mirror, "8192") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert re.search(
        r"pinned\.bin\.part can't be written on \(File too large\) after 8192 bytes, which are kept", said
    )
    assert said.count("\n") == 1
    main(["pinned", f"from={mirror.address}"])
    assert mirror.starts() == [0, 8192]


def test_interrupted_by_hand_and_gone_on_with(mirror, store):
    mirror.seconds_per_kib = 0.2
    part = store / "pinned.bin.part"
    with child(mirror) as process:
        wait_for(lambda: part.is_file() and part.stat().st_size >= 2048)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    had = part.stat().st_size
    mirror.seconds_per_kib = 0.0
    main(["pinned", f"from={mirror.address}"])
    assert mirror.starts() == [0, had]
    assert (store / "pinned.bin").read_bytes() == CONTENT


def test_two_processes_fetch_one_file(mirror, store, capsys):
    """The second waits for the first, and takes its file."""
    mirror.seconds_per_kib = 0.05
    with child(mirror) as process:
        wait_for((store / "pinned.bin.part").exists)
        assert main(["pinned", f"from={mirror.address}"]) == 0
        assert process.communicate(timeout=60)[1] == ""
    said = capsys.readouterr()
    assert "another process is fetching pinned.bin; waiting for it" in said.err
    assert "pinned is there already" in said.out
    assert process.returncode == 0
    assert mirror.starts() == [0]
    assert (store / "pinned.bin").read_bytes() == CONTENT
    assert left(store) == {"pinned.bin"}


def test_what_waited_for_a_part_that_was_removed_begins_its_own(mirror, store):
    store.mkdir(parents=True)
    waits = threading.Event()
    made = []

    def second() -> None:
        url = f"{mirror.address}pinned.bin"
        made.append(fetch(catalogue()["pinned"], store, Silent(), url=url, waiting=waits.set))

    with part_of(store / "pinned.bin", waits.set) as part:
        thread = threading.Thread(target=second)
        thread.start()
        part.write(b"of another file")
        assert waits.wait(60)
        part.discard()
    thread.join()
    assert made[0].path.read_bytes() == CONTENT
    assert left(store) == {"pinned.bin"}


def test_many_at_once_over_a_bad_connection(store):
    """Threads stand for processes, since locks belong to open files; every one of them ends with the whole file."""
    with serving(Mirror(CONTENT)) as mirror:
        mirror.cuts = [3000, 4000, 0, 5000]
        store.mkdir(parents=True)
        made, failed = [], []

        def one() -> None:
            try:
                made.append(
                    fetch(
                        catalogue()["pinned"],
                        store,
                        Silent(),
                        url=f"{mirror.address}pinned.bin",
                        waiting=lambda: None,
                    )
                )
            except ArdistillError as error:
                failed.append(error)

        threads = [threading.Thread(target=one) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed
    assert [each.was_there for each in made].count(False) == 1
    assert (store / "pinned.bin").read_bytes() == CONTENT
    assert left(store) == {"pinned.bin"}


def test_from_a_shell(mirror, store):
    def run(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "ardistill", "fetch", *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)

    made = run("dd-statistics", f"from={mirror.address}")
    assert (made.returncode, made.stderr) == (0, "")
    assert (store / "statistic.pth").read_bytes() == CONTENT
    refused = run("inception", f"from={mirror.address}")
    assert refused.returncode == 2
    assert re.fullmatch(r"ardistill: http://.* has 20000 bytes where weights-inc.*\n", refused.stderr)


def test_progress_is_told(mirror, capsys):
    mirror.content = CONTENT * 200
    main(["loose", f"from={mirror.address}"])
    assert re.search(r"^loose\.bin, MiB: 3/3 \(", capsys.readouterr().err, re.MULTILINE)


def test_the_table_says_what_is_there(mirror, store, capsys):
    main(["pinned", f"from={mirror.address}"])
    torch_cache().mkdir(parents=True)
    (torch_cache() / "sized.bin").write_bytes(CONTENT)
    capsys.readouterr()
    assert main([]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^name +file +MiB +there +about$", said, re.MULTILINE)
    assert re.search(
        r"^inception +weights-inception-2015-12-05-6726825d\.pth +91\.2 +no +Incep", said, re.MULTILINE
    )
    assert re.search(r"^pinned +pinned\.bin +0\.0 +yes +a small file$", said, re.MULTILINE)
    assert re.search(r"^sized +sized\.bin +0\.0 +torch's cache +a small file$", said, re.MULTILINE)
    assert f"\n\n`python -m ardistill fetch NAME...` fetches into {store}\n" in said
    assert re.search(r"^clip-rn50 +clip-rn50-afeb0e10\.\.\.\.pt +- +no ", said, re.MULTILINE)


def test_help_names_the_words():
    import ardistill.cli.fetch as verb

    for word in ("NAME...", "out=DIR", "from=URL", "ARDISTILL_HOME"):
        assert word in verb.__doc__
    assert os.linesep not in verb.SUMMARY
