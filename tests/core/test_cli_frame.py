"""The frame of the command line: verbs, help, exit codes, the plugin table, progress."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ardistill import __main__ as command
from ardistill import __version__, cli
from ardistill.cli import terminal
from ardistill.errors import ArdistillError, ConfigError
from ardistill.plugins import discover

VERBS = sorted(cli.VERBS)


def run_python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


def fastest(limit: float, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs until one of a few tries is under the limit, in processor time: the machine may have other work."""
    seconds = []
    for _ in range(3):
        before = os.times()
        done = run_python(code, *words)
        after = os.times()
        seconds.append(sum(after[2:4]) - sum(before[2:4]))
        if seconds[-1] < limit:
            return done
    pytest.fail(f"never under {limit} s: {seconds}")


MAIN = """
import sys
from ardistill.__main__ import main
code = main()
print([name for name in ("torch", "rich", "submitit") if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        assert command.main(words) == 0
        out = capsys.readouterr().out
        assert [line.split()[0] for line in out.split("verbs:\n")[1].splitlines()] == list(cli.VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_summary_and_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    summary = command._module(verb).SUMMARY
    assert summary
    assert "\n" not in summary
    helps = []
    for words in ([verb, "--help"], [verb, "seed=1", "-h"], ["help", verb]):
        assert command.main(words) == 0
        helps.append(capsys.readouterr().out)
    assert helps[0] == helps[1] == helps[2]
    assert f"ardistill {verb}" in helps[0]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_quick_and_free_of_torch(verb: str) -> None:
    done = fastest(0.5, MAIN, *([verb] if verb else []), "--help")
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_plugins_is_quick_and_free_of_torch() -> None:
    done = fastest(0.5, MAIN, "plugins")
    assert (done.returncode, done.stderr) == (0, "[]\n")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["kind", "name", "summary", "distribution", "version"]
    (line,) = [line for line in lines if line.split()[:2] == ["teacher", "var"]]
    assert line.split()[-2:] == ["ardistill", __version__]


def test_python_m_and_its_exit_code() -> None:
    def module(*words: str) -> subprocess.CompletedProcess[str]:
        words = (sys.executable, "-m", "ardistill", *words)
        return subprocess.run(words, capture_output=True, text=True, check=False)

    assert module("--version").stdout == f"{__version__}\n"
    unknown = module("plugin")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr == "ardistill: unknown verb 'plugin'; did you mean plugins?\n"


def test_plugins_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["plugins", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(offer["kind"], offer["name"]) for offer in listed["offers"]] == [
        (found.offer.kind, found.offer.name) for found in discover().offers()
    ]
    assert set(listed["offers"][0]) == {"kind", "name", "summary", "plugin", "distribution", "version"}
    assert all(
        set(problem) == {"reason", "plugin", "distribution", "version"} for problem in listed["problems"]
    )


def test_plugins_shows_problems(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "sad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: sad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ardistill]\nsad = sad_module\n")
    (tmp_path / "sad_module.py").write_text("raise RuntimeError('\\x1b[31mred')")
    monkeypatch.syspath_prepend(tmp_path)
    assert command.main(["plugins"]) == 0
    problems = capsys.readouterr().out.split("\nproblems:\n")[1]
    assert "  sad:sad 1.0: it fails at import (RuntimeError: \\x1b[31mred)\n" in problems


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["zzz"], "unknown verb 'zzz'; known: run, "),
        (["plugins", "--jason"], "unknown word '--jason'; did you mean --json?"),
        (["plugins", "x"], "unknown word 'x'; known: --json"),
        (["rn\x1b[31m"], r"unknown verb 'rn\x1b[31m'; known: run, "),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"ardistill: {sentence}")
    assert captured.err.count("\n") == 1
    assert captured.err[:-1].isprintable()


def failing(error: BaseException) -> Any:
    class Verb:
        __doc__ = SUMMARY = "fails"

        @staticmethod
        def main(words: list[str]) -> int:
            raise error

    return lambda verb: Verb


def test_how_a_verb_can_end(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    class RareError(ArdistillError):
        exit_code = 7

    for error, code, said in [
        (RareError("a\nb\x1b"), 7, "ardistill: a\\nb\\x1b\n"),
        (KeyboardInterrupt(), 130, ""),
    ]:
        monkeypatch.setattr(command, "_module", failing(error))
        assert command.main(["run"]) == code
        assert capfd.readouterr().err == said
    monkeypatch.setattr(command, "_module", failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        command.main(["run"])


def test_a_reader_that_leaves_is_no_error() -> None:
    script = f"{sys.executable} -m ardistill plugins --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", f"{script}"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout in ("1\n", "0\n")


def test_options() -> None:
    assert cli.take_option(["a=1", "--config", "x=y", "b=2"], "--config") == ("x=y", ["a=1", "b=2"])
    assert cli.take_option(["--config=x=y"], "--config") == ("x=y", [])
    assert cli.take_option(["a=1"], "--config") == (None, ["a=1"])
    for words in (["--config"], ["--config="], ["--config", "x", "--config", "y"]):
        with pytest.raises(ConfigError, match=r"^--config (lacks its value|is given twice)$"):
            cli.take_option(words, "--config")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_in_lines_is_sober() -> None:
    stream, now = io.StringIO(), [0.0]
    lines = terminal.Lines(stream, lambda: now[0])
    for done in range(1, 1001):
        now[0] = 0.3 * done
        lines.advance(done, 1000, "training")
    printed = stream.getvalue().splitlines()
    assert len(printed) == 10
    assert printed[4] == "training: 501/1000 (2:30 left)"
    assert printed[-1] == "training: 1000/1000 (5:00 passed)"


def test_progress_in_lines_is_brief_for_short_work_and_not_silent_for_long() -> None:
    stream, now = io.StringIO(), [0.0]
    lines = terminal.Lines(stream, lambda: now[0])
    for done in (1, 2, 3, 3):
        lines.advance(done, 3, "short")
    assert stream.getvalue() == "short: 3/3 (0:00 passed)\n"
    for done in range(100):
        now[0] += 25
        lines.advance(done, 10**6, "long")
    assert stream.getvalue().count("long") == 33
    lines.advance(1, 1, "one")
    assert stream.getvalue().endswith("one: 1/1 (0:00 passed)\n")


def test_progress_chooses_by_its_stream() -> None:
    for stream, drawn in ((io.StringIO(), False), (Terminal(), True)):
        with terminal.progress(stream) as progress:
            progress.advance(1, 2, "[work]")
            progress.advance(2, 2, "[work]")
        assert ("━" in stream.getvalue()) is drawn
        assert "[work]" in stream.getvalue()


def test_tables_are_plain_where_no_terminal_is() -> None:
    stream = io.StringIO()
    terminal.print_table([("a", 1.5, "x"), ("bcd", 10, "\x1b[1m")], ("name", "n", "note"), stream)
    assert stream.getvalue() == "name    n  note\n----  ---  -------\na     1.5  x\nbcd    10  \\x1b[1m\n"
    drawn = Terminal()
    terminal.print_table([("[b]a", 1.5)], ("name", "n"), drawn)
    assert "[b]a" in drawn.getvalue()
    assert "─" in drawn.getvalue()
    empty = io.StringIO()
    terminal.print_table([], ("name", "n"), empty)
    assert empty.getvalue() == "name  n\n----  -\n"
