"""What a run tells: every figure in metrics.jsonl, whatever becomes of TensorBoard."""

import json
import shutil
from contextlib import suppress

import pytest
import torch

from ardistill.training.journal import Journal, Means

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*tensorboard.*:DeprecationWarning"),
    # TensorBoard's own thread, as it dies
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


def images(folder):
    return [json.loads(line)["images"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_tensorboard_writer_that_dies_costs_a_warning_and_no_figure(tmp_path):
    journal = Journal(tmp_path)
    journal.record("train", 1, {"loss": 1.0})
    shutil.rmtree(tmp_path / "tensorboard")
    with suppress(OSError):
        journal._events.flush()  # which is done every two minutes by its thread, and ends that

    def go_on():
        for number in range(2, 100):
            journal.record("train", number, {"loss": 1.0})
            journal.picture("samples", number, torch.zeros(3, 8, 8))
        journal.close()

    with pytest.warns(
        RuntimeWarning, match=r"can't be written any more .*No such file.* metrics.jsonl"
    ) as told:
        go_on()
    assert len(told) == 1
    assert images(tmp_path) == list(range(1, 100))


def test_a_tensorboard_folder_that_cannot_be_made_costs_a_warning(tmp_path):
    (tmp_path / "tensorboard").write_text("not a folder")
    with pytest.warns(RuntimeWarning, match="metrics.jsonl has every figure"):
        journal = Journal(tmp_path)
    journal.record("train", 1, {"loss": 1.0})
    journal.close()
    assert images(tmp_path) == [1]


def test_what_a_kill_cut_short_or_a_checkpoint_does_not_know_is_told_anew(tmp_path):
    journal = Journal(tmp_path)
    for number in (1, 2, 3):
        journal.record("train", number, {})
    journal.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "train", "ima')
    journal = Journal(tmp_path, start=2)
    journal.record("train", 3, {})
    journal.close()
    assert images(tmp_path) == [1, 2, 3]


def test_means_are_of_what_came_since_the_last_were_taken():
    means = Means()
    means.add("a", {"loss": torch.tensor(1.0)})
    means.add("a", {"loss": torch.tensor(2.0)})
    means.add("b", {"loss": torch.tensor(5.0)})
    assert means.take() == {"a/loss": 1.5, "b/loss": 5.0}
    assert means.take() == {}
