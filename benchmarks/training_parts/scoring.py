"""The memory of DD2's scores: the posterior means of many images' tokens, there and back.

Shape legend: M draws, B images, L tokens, V codes, C code width.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import perf_counter

import torch

from ardistill.evaluation.timing.memory import peak
from ardistill.flow import posterior_mean
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher
from training_parts.result import Scoring


def scoring(teacher: ARTeacher, draws: int, images: int, device: torch.device) -> Scoring:
    """Of points and distributions that are drawn, with gradients for the points as the generator's step has them.

    On a CPU by a process of its own: what training has freed and the heap has kept would hide what is taken, or add
    to it.
    """
    (n_codes, width), threads = teacher.tokenizer.codebook.shape, torch.get_num_threads()
    sizes = draws, images, teacher.layout.n_tokens, n_codes, width
    if device.type != "cpu":
        return _measured(*sizes, str(device), threads)
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_measured, *sizes, str(device), threads).result()


def _measured(
    draws: int, images: int, n_tokens: int, n_codes: int, width: int, device_name: str, threads: int
) -> Scoring:
    torch.set_num_threads(threads)
    device = torch.device(device_name)
    # One image's numbers serve for all: what they are changes neither time nor memory.
    draw = Draw(0, "benchmarks/training/scoring", 0, 1, device)
    codes_VC = draw.normal("codes", n_codes, width)[0]
    log_p_BLV = draw.normal("logits", n_tokens, n_codes).log_softmax(-1).repeat(images, 1, 1)
    x_MBLC = draw.normal("x", draws, n_tokens, width).transpose(0, 1).repeat(1, images, 1, 1)
    t_MBL = (0.02 + 0.96 * draw.uniform("t", draws, n_tokens)).transpose(0, 1).repeat(1, images, 1)

    def call(n: int) -> None:
        points_MBLC = x_MBLC[:, :n].requires_grad_()
        posterior_mean(points_MBLC, t_MBL[:, :n], log_p_BLV[:n], codes_VC).square().sum().backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    call(1)  # what the first call alone takes, such as a library's own memory
    with peak(device) as before:
        pass
    with peak(device) as high:
        began = perf_counter()
        call(images)
        seconds = perf_counter() - began
    extra = None if high.bytes is None or before.bytes is None else high.bytes - before.bytes
    return Scoring(images, draws, n_tokens, n_codes, width, seconds, extra)
