"""Run every combination of words, each in a folder of its own, and lay the results side by side.

    python -m ardistill sweep method=dd1,dd2 teacher=var seed=0,1
    python -m ardistill sweep method=dd1,dd2 teacher=var,llamagen seed=0,1 out=DIR launcher=slurm launcher.gpus=1
    python -m ardistill sweep status DIR                            what each run is at, or why it failed
    python -m ardistill sweep resume DIR                            those that failed or are missing, alone
    python -m ardistill sweep resume DIR launcher.time=48h          and under other words about the launcher
    python -m ardistill sweep compare DIR                           table and picture of those that are finished

Words are those of `run`, with commas between the values of one. A key that takes a list keeps its commas, and its
values are parted by semicolons: "eval.steps=1,2;1,4". The runs lie in DIR under names made of what they differ in, such
as dd1-var-0; DIR/sweep.json records them. On Slurm they are one array of jobs, launcher.parallel=N of them at once;
with launcher=local each is a process of its own, and with launcher=here they run one after another. `status` takes the
folder of a single run, too. When all are finished it shows the comparison, as `sweep` itself does.
"""

from pathlib import Path

from ardistill.cli.standing import compare, show_status
from ardistill.cli.sweeping import begin, go_on
from ardistill.errors import ConfigError
from ardistill.wording import shown

SUMMARY = "run every combination of words, and lay the results side by side"

_ACTIONS = {"status": show_status, "compare": compare}


def main(words: list[str]) -> int:
    if not words:
        raise ConfigError("sweep lacks its words; write: ardistill sweep method=dd1,dd2 teacher=var seed=0,1")
    action, *rest = words
    if "=" in action:
        return begin(words)
    folders = [word for word in rest if not word.startswith(("launcher=", "launcher."))]
    if action not in (*_ACTIONS, "resume"):
        raise ConfigError(
            f"sweep does not know {shown(action)}; write words, or one of status, resume, compare"
        )
    if len(folders) != 1:
        raise ConfigError(f"sweep {action} takes one folder; write: ardistill sweep {action} DIR")
    folder = Path(folders[0])
    if action == "resume":
        return go_on(folder, [word for word in rest if word != folders[0]])
    if len(rest) > 1:
        raise ConfigError(f"sweep {action} takes a folder alone, and not {shown(rest[-1])}")
    return _ACTIONS[action](folder)
