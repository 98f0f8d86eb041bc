"""A report as a run on the digits makes it: its figures are a real run's, rounded; its images are real digits, blurred
more for worse generators, so that nothing has to be trained."""

import math

import attrs
import torch
import torch.nn.functional as F
from ardistill_digits.data import Digits

from ardistill.evaluation.grid import Strip
from ardistill.evaluation.page import Interpolation
from ardistill.evaluation.protocol import Protocol
from ardistill.evaluation.report import Report, Row
from ardistill.evaluation.timing.speed import Timing
from ardistill.noise import Draw

PROTOCOL = Protocol(
    name="digits",
    n=5000,
    labels="balanced",
    seed=1,
    reference="digits/train",
    reference_sha256="3b1f0c6a9d5e4f7788a1c2b3d4e5f60718293a4b5c6d7e8f9011223344556677",
    reference_n=5000,
    reference_images=5000,
    resize="none: the images are 16x16 as the network takes them",
    features="digits",
    features_digest="a94a8fe5ccb19ba61c4c0873d391e987982fbbd3b1f0c6a9d5e4f7788a1c2b3d",
    guidance={"scale": 0.0, "top_k": 0, "top_p": 0.0, "temperature": 1.0},
    kid="20 subsets of 1,000 images, cubic kernel",
    held_out="digits/test",
)
NAMES = ("teacher", "onestep*", "skip-1", "dd1, 1 pass", "dd1, 2 passes")
COLUMNS = tuple("0123456789")
_FIGURES = {
    "passes": (4, 0, 3, 1, 2),
    "fid": (0.305, 2.483, 0.938, 0.562, 0.502),
    "fid_test": (0.408, 2.501, 1.005, 0.679, 0.592),
    "fid_teacher": (0.056, 1.877, 0.445, 0.177, 0.099),
    "gap_real": (100.0, 0.0, 71.0, 88.2, 91.0),
    "gap_teacher": (100.0, 0.0, 78.6, 93.4, 97.7),
    "isc": (7.17, 4.91, 6.28, 6.73, 7.04),
    "kid": (0.00012, 0.0081, 0.0023, 0.0009, 0.0007),
    "kid_std": (0.00003, 0.0004, 0.0002, 0.0001, 0.0001),
    "precision": (0.742, 0.399, 0.613, 0.651, 0.696),
    "recall": (0.786, 0.621, 0.691, 0.711, 0.700),
    "accuracy": (0.986, 0.842, 0.958, 0.975, 0.984),
    "nll": (2.684, 5.585, 4.826, 3.72, 3.596),
    "tokens_tv": (0.031, 0.024, 0.03, 0.052, 0.047),
    "parameters": (318672, 38400, 20480, 340376, 340376),
    "seconds_per_image": (0.00116, 0.00045, 0.00083, 0.0008, 0.00159),
    "latency": (0.0172, 0.00303, 0.01635, 0.00454, 0.01075),
    "latency_speedup": (1.0, 5.7, 1.05, 3.8, 1.6),
}


def rows(**protocols):
    """The run's; `protocols` gives some names one of their own."""
    return tuple(
        Row(
            name=name,
            protocol=protocols.get(name, PROTOCOL),
            **{field: values[index] for field, values in _FIGURES.items()},
        )
        for index, name in enumerate(NAMES)
    )


SCHEDULES = {
    "dd1, 1 pass": (1, 0.562, 0.0008),
    "dd1, 2 passes": (2, 0.502, 0.00159),
    "dd1, 3 passes": (3, 0.47, 0.0023),
    "dd1, pre-trained-1-3": (3, 0.41, 0.0019),
    "dd1, pre-trained-2-3": (2, 0.65, 0.0013),
    "dd1, pre-trained-1-4": (4, 0.36, 0.0024),
    "dd1, pre-trained-2-4": (3, 0.39, 0.0018),
    "dd1, pre-trained-3-4": (2, 0.45, 0.0012),
    "dd1, 4 passes": (4, 0.46, 0.0031),
}
"""Passes, FID and seconds an image."""


def schedules():
    """Rows of one student sampled in nine ways, after the teacher and the baselines."""
    *others, one, _ = rows()
    return (
        *others,
        *(
            attrs.evolve(
                one, name=name, passes=passes, fid=fid, seconds_per_image=seconds, latency=5 * seconds
            )
            for name, (passes, fid, seconds) in SCHEDULES.items()
        ),
    )


def timings():
    made = []
    for batch, largest in ((1, False), (8, False), (64, False), (512, True)):
        for index, name in enumerate(NAMES):
            alone, rate = _FIGURES["latency"][index], _FIGURES["seconds_per_image"][index]
            for compiled in (False, True):
                for decoding in (True, False):
                    share = (0.6 if compiled else 1.0) * (1.0 if decoding else 0.7)
                    seconds = share * (rate + (alone - rate) / batch)
                    peak = 4_000_000 + 130_000 * batch
                    spread = (seconds, 0.94 * seconds, 1.1 * seconds)
                    made.append(Timing(name, batch, decoding, compiled, *spread, 9, peak, largest))
    return tuple(made)


def report(**changes):
    given = {
        "rows": rows(),
        "config": {
            "teacher": {"name": "var", "checkpoint": "none", "prefix": "causal"},
            "data": {"name": "digits"},
            "method": {
                "name": "dd1",
                "images": 256000,
                "lpips": {"weight": 0.05, "share": 0.25, "net": "features"},
                "lr": 0.006,
                "betas": [0.9, 0.99],
            },
            "eval": {"n": 5000, "every_n": 5000, "steps": [], "baselines": ["onestep*", "skip-1"]},
            "seed": 1,
        },
        "command": "python -m ardistill run method=dd1 teacher=var seed=1 threads=1 out=runs/dd1-var-1",
        "floor": 0.266,
        "speed": timings(),
        "seconds": {
            "preparing": 61.3,
            "train": 402.5,
            **{f"evaluating {name}": 4.0 + len(name) for name in NAMES},
        },
        "throughput": {"preparing pairs": 978.0, "train": 636.0},
        "versions": {"python": "3.11.9", "torch": "2.15.0", "ardistill": "0.1.0"},
        "hardware": {"cpu": "AMD EPYC", "cores": 2, "threads": 1, "device": "cpu"},
        "date": "2026-01-02T03:04:05+00:00",
    }
    return Report(**(given | changes))


def _blurred(images_NCHW, width):
    """Gaussian, of `width` pixels."""
    if not width:
        return images_NCHW
    offset = torch.arange(-3, 4.0)
    kernel = torch.softmax(-(offset**2) / (2 * width**2), 0)
    kernel = torch.outer(kernel, kernel).expand(3, 1, 7, 7)
    return F.conv2d(F.pad(images_NCHW, (3, 3, 3, 3), value=-1.0), kernel, groups=3)


def digits(n, stream="example", labels=COLUMNS):
    """Scans, warped as the data set warps them: (n, 3, 16, 16)."""
    label_N = torch.tensor([int(labels[index % len(labels)]) for index in range(n)])
    return Digits().images("train", Draw(3, stream, 0, n), label_N)[0]


def strips(lines=2, side=None):
    """Of digits, or enlarged to `side` pixels."""
    made = []
    for index, (name, width) in enumerate(
        zip(("real", *NAMES), (0.0, 0.4, 1.5, 0.9, 0.7, 0.55), strict=True)
    ):
        stream = "real" if name == "real" else "pair"
        images = _blurred(digits(lines * len(COLUMNS), stream), width)
        if side:
            images = F.interpolate(images, side, mode="bicubic").clamp(-1, 1)
        note = "FID 0.27, held-out" if name == "real" else f"FID {_FIGURES['fid'][index - 1]:.2f}"
        made.append(Strip(name, images, note))
    return made


def interpolations(steps=9):
    made = []
    for label in "3478":
        ends = digits(2, f"ends {label}", (label,))
        weights = torch.linspace(0, 1, steps).reshape(-1, 1, 1, 1)
        path = (1 - weights) * ends[:1] + weights * ends[1:]
        made.append(Interpolation("dd1, 1 pass", _blurred(path, 0.7), f"class {label}"))
        made.append(Interpolation("teacher, same noise", path, f"class {label}"))
    return made


def journal(records=100, evaluations=8):
    """Losses that fall, noisily but the same each time, and evaluations every so often."""
    made = []
    for index in range(1, records + 1):
        noise = math.sin(12.9898 * index) + math.sin(78.233 * index)
        made.append(
            {
                "phase": "train",
                "images": 2560 * index,
                "student/ce": 1.4 + 3.0 / index + 0.02 * noise,
                "student/lpips": 0.004 + 0.035 / index + 0.0002 * noise,
                "student/gradient_norm": 0.9 + 2.3 / index + 0.05 * noise,
            }
        )
        if evaluations and index % (records // evaluations) == 0:
            made.append(
                {
                    "phase": "eval",
                    "images": 2560 * index,
                    "fid": 0.55 + 9.0 / index,
                    "accuracy": 0.98 - 0.4 / index,
                    "seconds": 4.0 * index,
                }
            )
    return made
