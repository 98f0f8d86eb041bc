"""Draws the figures of docs/how-dd1-works.md and docs/how-dd2-works.md; a test holds the files to what this makes.

python docs/make_figures.py

Both show one token, whose codebook has two numbers a code so that it can be drawn. Everything is computed with the
package's own formulas; SVG is written directly, so that nothing of a drawing library's version is in the files.

Shape legend: N points, V codes, C = 2 code width, T times, S students' samples, M draws.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

import attrs
import torch
from ardistill_dd2.losses import conditional_score_distillation
from torch import Tensor

from ardistill.flow import ode_map, posterior_mean, score, velocity
from ardistill.noise import Draw

HERE = Path(__file__).parent
CODES_VC = torch.tensor([[-1.3, 0.9], [0.1, 1.5], [1.4, 0.7], [0.3, 0.1], [-1.0, -0.8], [0.9, -1.2]])
P_V = torch.tensor([0.30, 0.08, 0.22, 0.12, 0.18, 0.10])
LOG_P_V = P_V.log()
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#3ca951", "#a463f2", "#9c6b4e")
GREY, PALE, INK = "#808a94", "#d5dade", "#1f2a33"


@attrs.frozen
class Panel:
    """A square of the plane, from -side to side, whose upper left corner lies at (left, top) of the picture."""

    left: float
    top: float
    title: str
    side: float = 2.6
    pixels: float = 300.0

    def at(self, point_C: Tensor) -> tuple[float, float]:
        x, y = point_C.tolist()
        scale = self.pixels / (2 * self.side)
        return self.left + (x + self.side) * scale, self.top + (self.side - y) * scale

    def frame(self) -> Iterator[str]:
        yield text(self.left, self.top - 10, self.title, size=14, weight="bold")
        yield (
            f'<rect x="{self.left:g}" y="{self.top:g}" width="{self.pixels:g}" height="{self.pixels:g}" '
            f'fill="none" stroke="{PALE}"/>'
        )

    def codes(self, *, labels: bool = True) -> Iterator[str]:
        """Each code as a disc whose area is its probability."""
        for code_C, p, colour in zip(CODES_VC, P_V.tolist(), COLOURS, strict=True):
            yield self.dot(code_C, 22 * p**0.5, fill=colour, stroke="white")
            if labels:
                x, y = self.at(code_C)
                yield text(x + 22 * p**0.5 + 3, y + 4, f"{100 * p:.0f} %", size=12, halo=True)

    def dot(self, point_C: Tensor, radius: float, *, fill: str, stroke: str = "none") -> str:
        x, y = self.at(point_C)
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{fill}" stroke="{stroke}"/>'

    def path(self, points_TC: Tensor, *, stroke: str, width: float = 1.0, opacity: float = 1.0) -> str:
        told = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.at, points_TC))
        return (
            f'<polyline points="{told}" fill="none" stroke="{stroke}" stroke-width="{width:g}" '
            f'stroke-opacity="{opacity:g}"/>'
        )

    def arrow(self, start_C: Tensor, by_C: Tensor, *, stroke: str) -> str:
        """A line with a head; `by` in units of the plane."""
        end_C = start_C + by_C
        back_C = by_C / by_C.norm().clamp_min(1e-6) * 0.11
        across_C = torch.stack([-back_C[1], back_C[0]]) * 0.5
        head_TC = torch.stack([end_C - back_C + across_C, end_C, end_C - back_C - across_C])
        return self.path(torch.stack([start_C, end_C]), stroke=stroke) + self.path(head_TC, stroke=stroke)

    def cells(self, tokens_NN: Tensor) -> Iterator[str]:
        """A grid of tokens, rows from above, in the codes' colours made pale; runs of one are one rectangle."""
        n = len(tokens_NN)
        size = self.pixels / n
        for row, tokens_N in enumerate(tokens_NN):
            values, counts = torch.unique_consecutive(tokens_N, return_counts=True)
            column = 0
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                yield (
                    f'<rect x="{self.left + column * size:.1f}" y="{self.top + row * size:.1f}" '
                    f'width="{count * size + 0.3:.1f}" height="{size + 0.3:.1f}" fill="{pale(COLOURS[value])}" '
                    f'shape-rendering="crispEdges"/>'
                )
                column += count


def pale(colour: str) -> str:
    """A colour mixed with white."""
    parts = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(0.45 * part + 0.55 * 255):02x}" for part in parts)


def text(
    x: float, y: float, words: str, *, size: int = 13, weight: str = "normal", halo: bool = False
) -> str:
    around = ' stroke="white" stroke-width="3" paint-order="stroke"' if halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{INK}"{around}>'
        f"{escape(words)}</text>"
    )


def picture(width: int, height: int, parts: Iterable[str], about: str) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" stroke-linecap="round" stroke-linejoin="round">',
        f"<title>{escape(about)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


# DD1: the flow.


def flow_paths(noise_NC: Tensor, steps: int = 400) -> Tensor:
    """(T, N, C): x_t of the probability flow from t = 1 down to the last time, then the code, by Heun's rule."""
    times = torch.linspace(1, 0.01, steps + 1)

    def slope(x_NC: Tensor, t: Tensor) -> Tensor:
        t_N = t.expand(len(x_NC))
        return velocity(x_NC, t_N, posterior_mean(x_NC, t_N, LOG_P_V, CODES_VC))

    path = [noise_NC]
    for t, t_next in pairwise(times):
        x_NC = path[-1]
        first_NC = slope(x_NC, t)
        second_NC = slope(x_NC + (t_next - t) * first_NC, t_next)
        path.append(x_NC + (t_next - t) / 2 * (first_NC + second_NC))
    return torch.stack([*path, CODES_VC[ends(path[-1])]])


def ends(x_NC: Tensor) -> Tensor:
    """(N,): the code a path has come to."""
    return torch.cdist(x_NC, CODES_VC).argmin(-1)


def basins(side: float, n: int) -> Tensor:
    """(n, n): the token that noise at the centre of each cell of a square becomes, rows from above."""
    centres_n = (torch.arange(n) + 0.5) / n * 2 * side - side
    grid_NC = torch.cartesian_prod(-centres_n, centres_n).flip(-1)
    return ode_map(grid_NC, LOG_P_V, CODES_VC, evaluations=200).reshape(n, n)


def dd1_figure() -> str:
    flow, map_ = Panel(20, 40, "The flow, from noise to codes"), Panel(350, 40, "What each noise becomes")
    noise_NC = Draw(seed=4, stream="figures/dd1", start=0, count=70).normal("noise", 2)
    noise_NC = noise_NC[noise_NC.abs().amax(-1) < flow.side]
    paths_TNC = flow_paths(noise_NC)
    tokens_N = ends(paths_TNC[-1])
    parts = [*flow.frame()]
    for index, token in enumerate(tokens_N.tolist()):
        parts.append(flow.path(paths_TNC[::10, index], stroke=COLOURS[token], width=1.2, opacity=0.7))
        parts.append(flow.dot(noise_NC[index], 2, fill=GREY))
    parts += flow.codes()
    parts += map_.cells(basins(map_.side, 80))
    for sigmas in (1, 2):
        x, y = map_.at(torch.zeros(2))
        radius = sigmas * map_.pixels / (2 * map_.side)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="none" stroke="{INK}" '
            f'stroke-width="0.8" stroke-dasharray="3 3"/>'
        )
    parts += [*map_.frame(), *map_.codes()]
    parts.append(text(20, 362, "Grey: noise (t = 1). A disc's area is its code's probability.", size=12))
    parts.append(text(350, 362, "Dashed: one and two deviations of the noise.", size=12))
    return picture(
        670, 375, parts, "The probability flow from a normal distribution to six codes in the plane"
    )


# DD2: two scores and the gap.


@attrs.frozen(eq=False)
class PerfectGuidance:
    """What a guidance network learns, without a network: the velocity of the student's samples as they are."""

    samples_SC: Tensor

    def velocity(self, x_MBLC: Tensor, t_MBL: Tensor, features_BLD: Tensor) -> Tensor:
        del features_BLD
        return velocity(x_MBLC, t_MBL, self.mean(x_MBLC, t_MBL))

    def mean(self, x_NC: Tensor, t_N: Tensor) -> Tensor:
        return posterior_mean(x_NC, t_N, torch.zeros(len(self.samples_SC)), self.samples_SC)


def student_paths(samples_SC: Tensor, updates: int = 400, lr: float = 0.03, draws: int = 16) -> Tensor:
    """(T, S, C): samples that CSD pulls, each on its own, the guidance being perfect at every update (DMD's form)."""
    codes_VC = CODES_VC
    path, q_SC = [samples_SC], samples_SC
    for update in range(updates):
        draw = Draw(seed=0, stream="figures/dd2", start=update * len(q_SC), count=len(q_SC))
        eps_MBLC = draw.normal("eps", draws, 1, 2).transpose(0, 1)
        t_MBL = 0.2 + 0.75 * draw.uniform("t", draws, 1).transpose(0, 1)
        q_BLC = q_SC.unsqueeze(1).requires_grad_()
        loss = conditional_score_distillation(
            PerfectGuidance(q_SC),  # type: ignore[arg-type]
            torch.empty(0),
            q_BLC,
            eps_MBLC,
            t_MBL,
            LOG_P_V.expand(len(q_SC), 1, -1),
            codes_VC,
            form="dmd",
            alpha=1.0,
        )
        (slope_BLC,) = torch.autograd.grad(loss, q_BLC)
        rate = (
            lr * (1 - update / updates) * q_BLC.numel()
        )  # the loss is a mean, and each sample moves by itself
        q_SC = (q_SC - rate * slope_BLC.squeeze(1)).detach()
        path.append(q_SC)
    return torch.stack(path)


def dd2_figure() -> str:
    t = 0.35
    panels = [
        Panel(20, 40, f"Teacher's score, t = {t:g}"),
        Panel(340, 40, f"Guidance network's score, t = {t:g}"),
        Panel(660, 40, "The gap moves the student"),
    ]
    samples_SC = 0.55 * Draw(seed=1, stream="figures/dd2", start=0, count=60).normal("start", 2)
    guidance = PerfectGuidance(samples_SC)
    ticks = torch.linspace(-2.2, 2.2, 12)
    grid_NC = torch.cartesian_prod(ticks, ticks)
    t_N = torch.full((len(grid_NC),), t)
    means = (posterior_mean(grid_NC, t_N, LOG_P_V, CODES_VC), guidance.mean(grid_NC, t_N))
    parts: list[str] = []
    for panel, mean_NC in zip(panels, means, strict=False):
        parts += panel.frame()
        score_NC = score(grid_NC, t_N, mean_NC)
        length_N1 = score_NC.norm(dim=-1, keepdim=True)
        arrows_NC = score_NC / length_N1 * 0.4 * torch.tanh(length_N1 / 12)  # the longest ones shortened
        parts += [panel.arrow(x_C, by_C, stroke=GREY) for x_C, by_C in zip(grid_NC, arrows_NC, strict=True)]
    parts += panels[0].codes()
    parts += [panels[1].dot(sample_C, 2.5, fill=INK) for sample_C in samples_SC]
    parts += [*panels[2].frame(), *panels[2].codes(labels=False)]
    paths_TSC = student_paths(samples_SC)
    for index, path_TC in enumerate(paths_TSC.transpose(0, 1)):
        parts.append(panels[2].path(path_TC[::8], stroke=INK, width=0.8, opacity=0.6))
        parts.append(panels[2].dot(samples_SC[index], 1.2, fill=GREY))
        parts.append(panels[2].dot(path_TC[-1], 2.5, fill=INK, stroke="white"))
    notes = (
        "Towards (1 - t) times a code",
        "Towards (1 - t) times one of the student's samples",
        "Black: the samples after 400 updates",
    )
    parts += [text(panel.left, 362, note, size=12) for panel, note in zip(panels, notes, strict=True)]
    return picture(
        980,
        375,
        parts,
        "The teacher's conditional score, the guidance network's, and a student moved by their gap",
    )


def figures() -> Mapping[str, str]:
    """The files of docs/ and what is in them."""
    return {"how-dd1-works.svg": dd1_figure(), "how-dd2-works.svg": dd2_figure()}


if __name__ == "__main__":
    for name, drawn in figures().items():
        HERE.joinpath(name).write_text(drawn)
