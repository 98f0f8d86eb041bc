"""How fast are a teacher and the student made of it?

    python -m ardistill bench teacher=var method=dd2
    python -m ardistill bench teacher=var student=dd2 student.checkpoint=DIR/student.safetensors steps=1,2
    python -m ardistill bench teacher=var teacher.preset=d16 method=dd2 method.preset=var-d16 precision=bf16
        modes=eager,compiled,graph batches=1,8,64 largest=true out=d16.json
    python -m ardistill bench teacher=llamagen teacher.preset=c2i-B compare.tokens=4.9 compare.whole=6.6

Both take turns in one process. A call has three parts, each timed: drawing random numbers, making tokens of them,
decoding. Beside the times stand the highest memory, the share of the device's products a second that was reached, and
the time in which the weights could be read, over the time taken; what the device reaches is measured in the same run.

A teacher's preset without teacher.checkpoint has random weights, and method=NAME the student that it begins with:
neither is slower or faster than a trained one. student=NAME takes a trained one. compare. sets figures of somebody
else's code beside ours; they are shown as given. out=FILE.json keeps it all.
"""

import shlex
from collections.abc import Sequence

from ardistill.cli import check_output, heads_of
from ardistill.cli.terminal import print_table
from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import structure_trees, structure_words
from ardistill.config.bench import BenchMethod, BenchStudent, BenchTeacher
from ardistill.config.students import student_trees
from ardistill.errors import ConfigError
from ardistill.plugins import Registry, discover

SUMMARY = "time a teacher and its student: parts, memory, share of what the device reaches"


def main(words: list[str]) -> int:
    registry = discover()
    given = structured(words, registry)
    if given.out is not None:
        check_output(given.out)
    print(promise(given), flush=True)

    from ardistill.benching import showing
    from ardistill.benching.assembling import bench
    from ardistill.weights import reporting

    command = shlex.join(["python", "-m", "ardistill", "bench", *words])
    with shown_progress() as progress, reporting(progress):
        result = bench(given, registry, command, progress)
    print("\n".join(showing.before(result)), end="\n\n")
    print_table(showing.rows(result), showing.COLUMNS)
    print("", *showing.after(result), sep="\n")
    if given.out is not None:
        result.save(given.out)
        print(given.out)
    return 0


def structured(words: Sequence[str], registry: Registry) -> BenchTeacher | BenchMethod | BenchStudent:
    """Which of the three forms the words have."""
    heads = heads_of(words)
    if {"method", "student"} <= heads:
        raise ConfigError("method= begins a student and student= brings one; give either, not both")
    if "student" in heads:
        return structure_trees(student_trees(words, registry), BenchStudent, registry)
    if "method" in heads:
        return structure_words(words, BenchMethod, registry=registry)
    if "steps" in heads:
        raise ConfigError("steps= says how a student is sampled; give method=NAME or student=NAME too")
    if "teacher" in heads:
        return structure_words(words, BenchTeacher, registry=registry)
    raise ConfigError("bench needs teacher=NAME, and method=NAME or student=NAME for a student of it")


def promise(given: BenchTeacher | BenchMethod | BenchStudent) -> str:
    """What will be done, and how long it may take."""
    who = f"teacher={given.teacher.name}"
    if isinstance(given, BenchMethod):
        who += f" and the student of method={given.method.name}"
    elif isinstance(given, BenchStudent):
        who += f" and student={given.student.name}"
    batches = ", ".join(map(str, given.batches)) + (" and the largest that fits" if given.largest else "")
    return (
        f"{who}: {', '.join(given.modes)} in {given.precision}, batches of {batches}, {given.repeats} times each. "
        f"At most {given.budget:g} s once loaded: what is begun then is finished, the rest left out."
    )
