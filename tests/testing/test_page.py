"""docs/conformance.md lists every check with what it expects, and its example is one that runs."""

import re
from pathlib import Path

import pytest

from ardistill.testing import (
    NonConforming,
    __all__,
    callbacks,
    cursors,
    data,
    jumpers,
    methods,
    metrics,
    students,
    teachers,
    tokenizers,
    trajectories,
    trunks,
    updates,
)
from ardistill.testing import strategies as small
from tests.testing import broken

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()
LISTS = {
    "Tokenizer": tokenizers.CHECKS,
    "Teacher": (*teachers.CHECKS, *cursors.CHECKS),
    "Trunk": trunks.CHECKS,
    "Student": students.CHECKS,
    "Jumper": jumpers.CHECKS,
    "Method": (*methods.CHECKS, *updates.CHECKS),
    "Trajectory": trajectories.CHECKS,
    "Dataset": data.DATASET_CHECKS,
    "Feature network": data.FEATURES_CHECKS,
    "Metric": metrics.CHECKS,
    "Callback": callbacks.CHECKS,
}


@pytest.mark.parametrize("kind", LISTS)
def test_docs_list_every_check(kind):
    part = PAGE.partition(f"\n### {kind}\n")[2].partition("\n### ")[0]
    assert re.findall(r"^\| `(\w+)` \| (.*) \|$", part, re.MULTILINE) == [
        (check.name, check.expected) for check in LISTS[kind]
    ]


def test_docs_name_the_front_door():
    for name in __all__:
        assert f"`{name}" in PAGE, name
    for name in (
        "layouts",
        "teachers",
        "tokenizers",
        "conditions",
        "tokens",
        "latents",
        "trajectories",
        "draws",
    ):
        assert callable(getattr(small, name))
        assert f"`{name}`" in PAGE


def test_docs_show_a_message_as_it_is():
    from ardistill.testing import check_teacher

    with pytest.raises(NonConforming) as caught:
        check_teacher(broken.OffByOne)
    shown = PAGE.partition("```text\n")[2].partition("\n```")[0].replace("\n", " ")
    assert shown == str(caught.value)
