"""ardistill distils image autoregressive models into one-step generators.

usage: ardistill VERB [WORDS]      (or python -m ardistill VERB [WORDS])
       ardistill VERB --help
"""

import inspect
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from ardistill import __version__
from ardistill.cli import VERBS
from ardistill.errors import ArdistillError, ConfigError
from ardistill.wording import did_you_mean, listed, printable, shown

# Threads that wait for work spin a little, then sleep. Spinning for long, OpenMP's default, makes small networks
# four times slower as soon as anything else runs on the machine. It is read when torch is loaded, which happens later.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

HELP = ("--help", "-h", "help")
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code: 2 for what the user can mend, 130 after Ctrl-C.

    Exceptions outside the tree of `errors` pass: they are defects, and their traceback is wanted.
    """
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except ArdistillError as error:
        print(f"ardistill: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; keep the interpreter's own flush at exit from saying so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = printable(f"{where}{error.strerror or error}")
        print(
            f"ardistill: the system refused a file ({reason}); files that were whole still are",
            file=sys.stderr,
        )
        return ArdistillError.exit_code
    return code


def _dispatch(words: list[str]) -> int:
    verb, *rest = words or ["--help"]
    if verb in HELP and not rest:
        print(_overview())
        return 0
    if verb == "--version":
        print(__version__)
        return 0
    if verb in HELP:
        verb, rest = rest[0], ["--help"]
    module = _module(verb)
    if rest and any(word in HELP[:2] for word in rest):
        print(inspect.getdoc(module))
        return 0
    code: int = module.main(rest)
    return code


def _module(verb: str) -> ModuleType:
    if verb not in VERBS:
        known = did_you_mean(verb, VERBS) or f"; known: {listed(VERBS)}"
        raise ConfigError(f"unknown verb {shown(verb)}{known}")
    return import_module(VERBS[verb])


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {_module(verb).SUMMARY}" for verb in VERBS]
    return "\n".join([inspect.cleandoc(__doc__ or ""), "", "verbs:", *lines])


if __name__ == "__main__":
    sys.exit(main())
