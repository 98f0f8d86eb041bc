"""A metric and a callback that keep every promise, and others with one defect each."""

import json
from pathlib import Path

import torch

from ardistill.errors import DataError


class Brightness:
    """The mean pixel, of two images at least."""

    def __init__(self):
        self.sum, self.images = 0.0, 0

    def update(self, images_BCHW, labels_B, features_BF):
        self.sum += float(images_BCHW.double().mean((1, 2, 3)).sum())
        self.images += len(images_BCHW)

    def result(self):
        if self.images < 2:
            raise DataError("brightness needs two images; give a larger eval.n")
        return {"brightness": self.sum / self.images}


class NoResult:
    def update(self, images_BCHW, labels_B, features_BF):
        pass


class TensorFigure(Brightness):
    def result(self):
        return {"brightness": torch.tensor(super().result()["brightness"])}


class NotANumber(Brightness):
    def result(self):
        return {"brightness": float("nan")}


class OwnFid(Brightness):
    def result(self):
        return {"fid": super().result()["brightness"]}


class TwoLines(Brightness):
    def result(self):
        return {"bright\nness": super().result()["brightness"]}


class NameByCount(Brightness):
    def result(self):
        return {f"brightness of {self.images}": super().result()["brightness"]}


class Shaken(Brightness):
    def result(self):
        return {"brightness": super().result()["brightness"] + float(torch.rand(()))}


class MeanOfBatches(Brightness):
    """Every batch counts alike, however small."""

    def update(self, images_BCHW, labels_B, features_BF):
        self.sum += float(images_BCHW.double().max())
        self.images += 1

    def result(self):
        return {"brightness": self.sum / self.images}


class Late(Brightness):
    """Later images count more, whatever batch they are in."""

    def update(self, images_BCHW, labels_B, features_BF):
        for mean in images_BCHW.double().mean((1, 2, 3)).tolist():
            self.images += 1
            self.sum += self.images * (mean + 1)


class Shared(Brightness):
    """All of the class have one sum."""

    seen = torch.zeros(2, dtype=torch.float64)

    def __init__(self):
        self.seen.zero_()

    def update(self, images_BCHW, labels_B, features_BF):
        self.seen += torch.tensor([float(images_BCHW.double().sum()), images_BCHW.numel()])

    def result(self):
        return {"brightness": float(self.seen[0] / self.seen[1])}


class Emptied(Brightness):
    def result(self):
        found = super().result()
        self.sum = 0.0
        return found


class DividesByImagesLessOne(Brightness):
    def result(self):
        return {"brightness": self.sum / (self.images - 1)}


class Normalising(Brightness):
    def update(self, images_BCHW, labels_B, features_BF):
        super().update(images_BCHW, labels_B, features_BF)
        features_BF /= features_BF.norm()


METRICS = {
    NoResult: ("it_has_what_the_protocol_demands", "NoResult lacks result"),
    TensorFigure: ("figures_are_numbers_by_name", "'brightness' is Tensor -0.0"),
    NotANumber: ("figures_are_numbers_by_name", "'brightness' is float nan, which is no finite number"),
    OwnFid: ("names_can_head_columns", "a figure called fid, and every report has one of that name"),
    TwoLines: ("names_can_head_columns", r"a figure called 'bright\nness'"),
    NameByCount: ("names_stay_with_more_images", "figures ['brightness of 12'] of few images, and ['brig"),
    Shaken: ("the_same_images_give_the_same_figures", "the second time: global randomness plays a part"),
    MeanOfBatches: ("batches_do_not_matter", "of the images in batches of 1"),
    Late: ("the_order_of_batches_does_not_matter", "of the batches in reverse"),
    Shared: ("a_metric_knows_its_own_images_alone", "beside a metric that is shown other images"),
    Emptied: ("asking_changes_nothing", "and then {'brightness': 0.0}"),
    DividesByImagesLessOne: ("too_few_images_are_refused_in_words", "ZeroDivisionError"),
    Normalising: ("what_it_is_shown_is_left_alone", "the metric changed its features"),
}


class Diary:
    """Writes a line for each moment into the run's folder."""

    def __init__(self, folder):
        self.file = folder / "diary.jsonl"

    def tell(self, *what):
        with self.file.open("a") as file:
            file.write(json.dumps(what) + "\n")

    def start(self, images):
        self.tell("start", images)

    def step(self, phase, images, losses):
        self.tell("step", phase, images, {name: float(value) for name, value in losses.items()})

    def evaluation(self, images, figures):
        self.tell("evaluation", images, dict(figures))

    def end(self, error):
        self.tell("end", str(error))


class NoEnd:
    def __init__(self, folder):
        pass

    start = step = evaluation = Diary.start


class MakesItsFolder(Diary):
    def __init__(self, folder):
        folder.mkdir()
        super().__init__(folder)


class KnowsOneLoss(Diary):
    def step(self, phase, images, losses):
        self.tell("step", float(losses["mse"]))


class Hooks(Diary):
    """A hook on every module there is, which is taken back at the end: or is it?"""

    handle = None
    keeps = False

    def start(self, images):
        if Hooks.handle is None:
            Hooks.handle = torch.nn.modules.module.register_module_forward_hook(self.hook)

    def hook(self, module, given, made):
        return made * 1.001 if isinstance(module, torch.nn.Tanh) else None

    def end(self, error):
        if not self.keeps and Hooks.handle is not None:
            release()


class HooksThatStay(Hooks):
    """Only what comes after the run is hooked, too."""

    keeps = True

    def start(self, images):
        pass

    def end(self, error):
        super().start(0)


def release():
    if Hooks.handle is not None:
        Hooks.handle.remove()
        Hooks.handle = None


class Rounds(Diary):
    def step(self, phase, images, losses):
        for value in losses.values():
            value.mul_(100).round_().div_(100)


class WritesHere(Diary):
    def __init__(self, folder):
        self.file = Path("diary.jsonl").absolute()


class RewritesTheConfig(Diary):
    def end(self, error):
        self.file.with_name("config.toml").write_text("ended = true\n")


class CutsCheckpoints(Diary):
    """To save room."""

    def evaluation(self, images, figures):
        for path in self.file.parent.rglob("modules.safetensors"):
            path.write_bytes(b"")

    def end(self, error):
        self.evaluation(0, {})


class NewFile(Diary):
    def start(self, images):
        self.file.touch(exist_ok=False)


class ClosesWhatItOpened(Diary):
    def start(self, images):
        self.opened = self.file.open("a")

    def end(self, error):
        self.opened.close()


CALLBACKS = {
    NoEnd: ("it_has_what_the_protocol_demands", "NoEnd lacks end"),
    MakesItsFolder: ("making_it_writes_nothing", "the run's folder is there"),
    KnowsOneLoss: ("it_hears_a_run_to_its_end", "KeyError: 'mse'"),
    Hooks: ("training_is_the_same_without_it", "from those of a run without it"),
    HooksThatStay: ("training_is_the_same_without_it", "in a run without it, but after one with it"),
    Rounds: ("what_it_is_told_is_left_alone", "step() changed ce, gradient_norm"),
    WritesHere: (
        "it_writes_into_its_runs_folder_alone",
        "outside of the run's folder: elsewhere/diary.jsonl",
    ),
    RewritesTheConfig: ("it_writes_into_its_runs_folder_alone", "it changed the run's config.toml"),
    CutsCheckpoints: (
        "it_writes_into_its_runs_folder_alone",
        "the last checkpoint that is whole is of image 0",
    ),
    NewFile: ("a_run_can_be_cut_and_go_on", "FileExistsError"),
    ClosesWhatItOpened: ("an_end_can_come_at_once", "AttributeError: 'ClosesWhatItOpened' object has no"),
}
