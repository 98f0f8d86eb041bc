"""DD2 as its paper tells it: tune an AR-diffusion model, then distil it by conditional score distillation.

1. *Tuning* (section 3.3, equation 6): the teacher's trunk with a light head learns the teacher's conditional scores,
   the head alone first.
2. *CSD* (equations 4 and 5): generator and guidance network start from the tuned model; the guidance network follows
   the generator's own conditional scores, the generator closes the gap between those and the teacher's.
3. *Alignment* (appendix C.3): the generator takes its averaged weights, the guidance network catches up, CSD goes on.

Shape legend: M draws, B batch, L tokens, V codes, C code width, D trunk width.
"""

from collections.abc import Callable, Mapping

import attrs
import cattrs
import torch
from torch import Tensor, nn

from ardistill.flow import nearest_code
from ardistill.protocols import ARTeacher, Condition, Draw, Phase, Progress, Role, RunContext, StudentSpec
from ardistill_dd2.config import DD2Config
from ardistill_dd2.losses import conditional_score_distillation, fake_score, ground_truth_score
from ardistill_dd2.student import ARDiffusion
from ardistill_dd2.tuning import TuningSet

_Losses = Callable[[str, Draw], Mapping[str, Tensor]]


@attrs.frozen(eq=False)
class DD2Phase:
    """One of DD2's phases: `ratio` updates of the first role for one of the second, where there is a second."""

    name: str
    images: int
    batch: int
    roles: Mapping[str, Role]
    begin: Callable[[], None]
    losses: _Losses
    ratio: int = 1

    def role(self, update: int) -> str:
        first, *rest = self.roles
        return rest[0] if rest and update % (self.ratio + 1) == self.ratio else first


class DD2:
    """The method behind `method=dd2`."""

    def __init__(self, config: DD2Config, teacher: ARTeacher, context: RunContext) -> None:
        self.config, self.teacher, self.context = config, teacher, context
        self.student_spec = StudentSpec("dd2", cattrs.unstructure(config.head))
        self.guidance = ARDiffusion.of(teacher, config.head, context.seed)
        self.generator = ARDiffusion.of(teacher, config.head, context.seed)
        self.average = ARDiffusion.of(teacher, config.head, context.seed)
        self.modules: Mapping[str, nn.Module] = {
            "guidance": self.guidance,
            "generator": self.generator,
            "average": self.average,
        }
        # The flow's side of the codes; the teacher's is its tokenizer's codebook.
        self.codes_VC = teacher.tokenizer.codebook / self.average.unit
        self._tuning: TuningSet | None = None

    def prepare(self, progress: Progress) -> None:
        path = self.context.folder / "tuning.safetensors"
        n, seed = self.config.tuning_samples, self.context.seed
        self._tuning = TuningSet.collect(self.teacher, n, seed, path, progress)

    def student(self) -> ARDiffusion:
        return self.average

    def phases(self) -> tuple[Phase, ...]:
        c = self.config
        tune_head = self._role(self.guidance.head, c.tune_lr, c.tune_betas, self.average.head)
        tune = self._role(self.guidance, c.tune_lr, c.tune_betas, self.average)
        guidance = self._role(self.guidance, c.guidance_lr, c.betas)
        generator = self._role(self.generator, c.generator_lr, c.betas, self.average)
        csd = {"guidance": guidance, "generator": generator}
        phases = (
            self._phase(
                "tune-head", c.tune_head_images, c.tune_batch, {"head": tune_head}, self._start, self._tune
            ),
            self._phase("tune", c.tune_images, c.tune_batch, {"model": tune}, self._start, self._tune),
            self._phase(
                "guidance", c.guidance_images, c.batch, {"guidance": guidance}, self._fork, self._distil
            ),
            self._phase("csd", c.csd_images, c.batch, csd, self._fork_once, self._distil, c.csd_ratio),
            self._phase(
                "align-guidance",
                c.align_guidance_images,
                c.batch,
                {"guidance": guidance},
                self._align,
                self._distil,
            ),
            self._phase("align", c.align_images, c.batch, csd, self._align_once, self._distil, c.align_ratio),
        )
        return tuple(phase for phase in phases if phase.images)

    def _phase(
        self,
        name: str,
        images: int,
        batch: int,
        roles: Mapping[str, Role],
        begin: Callable[[], None],
        losses: _Losses,
        ratio: int = 1,
    ) -> DD2Phase:
        return DD2Phase(name, images, batch, roles, begin, losses, ratio)

    def _role(
        self, module: nn.Module, lr: float, betas: tuple[float, float], average: nn.Module | None = None
    ) -> Role:
        c = self.config
        return Role(
            module=module,
            lr=lr,
            warmup=c.warmup_images,
            lr_start=c.lr_start,
            decay=c.decay,
            betas=betas,
            weight_decay=c.weight_decay,
            clip=c.clip,
            average=average,
            ema_cap=c.ema_cap,
        )

    # What happens when a phase begins.

    def _start(self) -> None:
        self.average.load_state_dict(self.guidance.state_dict())

    def _fork(self) -> None:
        """Generator and guidance network both start from the tuned model's average (section 3.3)."""
        self.generator.load_state_dict(self.average.state_dict())
        self.guidance.load_state_dict(self.average.state_dict())

    def _fork_once(self) -> None:
        if not self.config.guidance_images:
            self._fork()

    def _align(self) -> None:
        self.generator.load_state_dict(self.average.state_dict())

    def _align_once(self) -> None:
        if not self.config.align_guidance_images:
            self._align()

    # What each update minimises.

    def _tune(self, role: str, draw: Draw) -> Mapping[str, Tensor]:
        assert self._tuning is not None, "prepare() comes first"
        codes_VC = self.codes_VC
        tokens_BL, condition = self._tuning.batch(draw, codes_VC.device)
        q_BLC = codes_VC[tokens_BL]
        with torch.no_grad():
            log_p_BLV = self.teacher.log_probs(condition, q_BLC * self.average.unit)
        with torch.set_grad_enabled(role != "head"):
            features_BLD = self.guidance.features(q_BLC, condition)
        eps_MBLC, t_MBL = self._noising(draw, q_BLC)
        return {
            "gts": ground_truth_score(
                self.guidance, features_BLD, q_BLC, eps_MBLC, t_MBL, log_p_BLV, codes_VC
            )
        }

    def _distil(self, role: str, draw: Draw) -> Mapping[str, Tensor]:
        codes_VC = self.codes_VC
        condition = Condition(draw.integers("label", self.teacher.n_classes))
        noise_BLC = draw.normal("noise", self.teacher.layout.n_tokens, codes_VC.shape[1])
        with torch.set_grad_enabled(role == "generator"):
            q_BLC = self.generator.generate(noise_BLC, condition)
        prefix_BLC = q_BLC.detach()
        if self.config.prefix == "snapped":
            prefix_BLC = codes_VC[nearest_code(prefix_BLC, codes_VC)]
        eps_MBLC, t_MBL = self._noising(draw, q_BLC)
        if role == "guidance":
            features_BLD = self.guidance.features(prefix_BLC, condition)
            return {"fcs": fake_score(self.guidance, features_BLD, q_BLC, eps_MBLC, t_MBL)}
        with torch.no_grad():
            features_BLD = self.guidance.features(prefix_BLC, condition)
            log_p_BLV = self.teacher.log_probs(condition, prefix_BLC * self.average.unit)
        c = self.config
        return {
            "csd": conditional_score_distillation(
                self.guidance,
                features_BLD,
                q_BLC,
                eps_MBLC,
                t_MBL,
                log_p_BLV,
                codes_VC,
                form=c.score_form,
                alpha=c.alpha,
            )
        }

    def _noising(self, draw: Draw, q_BLC: Tensor) -> tuple[Tensor, Tensor]:
        """Noise (M, B, L, C) and times (M, B, L), uniform in [t_min, t_max], for every token on its own."""
        c = self.config
        _, n_tokens, width = q_BLC.shape
        eps_MBLC = draw.normal("eps", c.draws, n_tokens, width).transpose(0, 1)
        t_MBL = draw.uniform("t", c.draws, n_tokens).transpose(0, 1)
        return eps_MBLC, c.t_min + (c.t_max - c.t_min) * t_MBL
