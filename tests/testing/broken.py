"""Plugins with one defect each, the check that is to find it, and what its message is to say."""

import attrs
import torch
from torch import nn

from ardistill.protocols import Guidance, Jump, Prediction, Redraw, Role, Schedule, StepLayout, StudentSpec
from ardistill.sampling import teacher_tokens
from ardistill.testing.toy import ToyCursor, ToyJumper, ToyTeacher, ToyTokenizer, ToyTrunk
from tests.testing.plain import PlainMethod, PlainPhase, PlainStudent

CODES = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


class Tokenizer(ToyTokenizer):
    def __init__(self):
        super().__init__(CODES.clone(), 4)


class DoubleCodes(Tokenizer):
    def __init__(self):
        ToyTokenizer.__init__(self, CODES.double(), 4)


class NarrowTokens(Tokenizer):
    def encode(self, images_BCHW):
        return super().encode(images_BCHW).int()


class TokensFromOne(Tokenizer):
    def encode(self, images_BCHW):
        return super().encode(images_BCHW) + 1


class Unclamped(Tokenizer):
    def decode(self, latents_BLC):
        return latents_BLC.transpose(1, 2).unsqueeze(2)


class BatchNormalised(Tokenizer):
    def decode(self, latents_BLC):
        return super().decode(latents_BLC - latents_BLC.mean(0))


class Detached(Tokenizer):
    def decode(self, latents_BLC):
        return super().decode(latents_BLC).detach()


class NoisyDecoder(Tokenizer):
    def decode(self, latents_BLC):
        return (super().decode(latents_BLC) + 0.01 * torch.rand(())).clamp(-1, 1)


class ScribblingDecoder(Tokenizer):
    def decode(self, latents_BLC):
        latents_BLC.data.mul_(0.9)
        return super().decode(latents_BLC)


class DoubleImages(Tokenizer):
    def decode(self, latents_BLC):
        return super().decode(latents_BLC).double()


class KnowsNoCodes(Tokenizer):
    """Gives a token too many to what is a code already."""

    def encode(self, images_BCHW):
        tokens_BL = super().encode(images_BCHW)
        exact_BL = torch.isclose(self.decode(self.codebook[tokens_BL]), images_BCHW).all(1).squeeze(1)
        return torch.where(exact_BL, 5, tokens_BL)


class OverflowsInBfloat16(Tokenizer):
    def decode(self, latents_BLC):
        return super().decode(latents_BLC) / (not torch.is_autocast_enabled("cpu"))


class StaysHere(Tokenizer):
    def to(self, device):
        return None


class Nameless:
    codebook, image_shape = CODES, (3, 1, 4)
    encode = decode = to = None


TOKENIZERS = {
    DoubleCodes: ("the_codebook_is_a_table", "codebook is float64 (5, 3)"),
    NarrowTokens: ("encode_gives_tokens", "is int32 (1, 4) on cpu instead of int64 (1, 4)"),
    TokensFromOne: ("encode_gives_tokens", "and there are 5 codes"),
    Unclamped: ("decode_takes_any_latents", "decode(3 * noise) within ["),
    BatchNormalised: (
        "an_image_does_not_depend_on_its_batch",
        "image 0 of decode(codes) differs from the one decoded alone",
    ),
    Detached: ("decode_passes_gradients", "cut off"),
    NoisyDecoder: ("the_same_comes_out_again", "decode(codes) came out differently the second time"),
    ScribblingDecoder: ("nothing_given_is_changed", "changed its latents"),
    DoubleImages: ("decode_gives_images", "decode(codebook[tokens]) is float64 (1, 3, 1, 4)"),
    KnowsNoCodes: ("a_round_trip_stays_among_images", "IndexError"),
    OverflowsInBfloat16: ("it_works_in_bfloat16", "nan or infinity in decode(codes)"),
    StaysHere: ("it_moves_to_a_device", "to(device) gives NoneType, which is no tokenizer"),
    Nameless: ("it_has_what_the_protocol_demands", "Nameless lacks n_tokens"),
}


class Teacher(ToyTeacher):
    cursor_class = ToyCursor

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        logits_YLHV = torch.randn(3, 5, 5, 5, generator=generator)
        super().__init__(StepLayout((1, 2, 2)), CODES.clone(), logits_YLHV, Guidance())

    def start(self, condition, prefix_tokens_Bl=None):
        labels_B = condition.require_labels()
        if prefix_tokens_Bl is None:
            prefix_tokens_Bl = labels_B.new_zeros(len(labels_B), 0)
        return self.cursor_class(self, labels_B, prefix_tokens_Bl)


class Unnormalised(Teacher):
    def log_probs(self, condition, latents_BLC):
        return super().log_probs(condition, latents_BLC) + 0.1


class DoubleLogProbs(Teacher):
    def log_probs(self, condition, latents_BLC):
        return super().log_probs(condition, latents_BLC).double()


class SeesItsOwnStep(Teacher):
    def log_probs(self, condition, latents_BLC):
        log_p_BLV = super().log_probs(condition, latents_BLC)
        return (log_p_BLV + latents_BLC[..., :1] * torch.arange(5)).log_softmax(-1)


class SeesTheBatch(Teacher):
    def log_probs(self, condition, latents_BLC):
        log_p_BLV = super().log_probs(condition, latents_BLC)
        return (log_p_BLV * (1 + 0.1 * len(latents_BLC))).log_softmax(-1)


class Dropout(Teacher):
    def log_probs(self, condition, latents_BLC):
        log_p_BLV = super().log_probs(condition, latents_BLC)
        return (log_p_BLV * torch.empty_like(log_p_BLV).uniform_(0.999, 1)).log_softmax(-1)


class Drifting(Teacher):
    def log_probs(self, condition, latents_BLC):
        log_p_BLV = super().log_probs(condition, latents_BLC)
        self.table_YLHV = (1.001 * self.table_YLHV).log_softmax(-1)
        return log_p_BLV


class NotFrozen(Teacher):
    def __init__(self):
        super().__init__()
        self.table_YLHV.requires_grad_()


class Unfiltered(Teacher):
    def __init__(self):
        super().__init__()
        self.guidance = Guidance(top_k=2)


class OfCaptions(Teacher):
    def __init__(self):
        super().__init__()
        self.n_classes = 0


class RoughLogProbs(Teacher):
    def log_probs(self, condition, latents_BLC):
        log_p_BLV = super().log_probs(condition, latents_BLC)
        return log_p_BLV.bfloat16() if torch.is_autocast_enabled("cpu") else log_p_BLV


class ToNowhere(Teacher):
    def to(self, device):
        return None


class WrongWidth(Teacher):
    def trunk(self):
        trunk = super().trunk()
        trunk.width = 15
        return trunk


class TensorInConstants(Teacher):
    @property
    def constants(self):
        return {"codes": CODES}


class OffByOne(Teacher):
    class cursor_class(ToyCursor):
        def log_probs(self):
            table_BLHV = self._teacher.table_YLHV[self._labels_B]
            return table_BLHV[:, self._teacher.layout.span(self.step), 0]


class Stuck(Teacher):
    class cursor_class(ToyCursor):
        step = 0


class ForgetsItsPrefix(Teacher):
    class cursor_class(ToyCursor):
        def __init__(self, teacher, labels_B, prefix_tokens_Bl):
            super().__init__(teacher, labels_B, torch.zeros_like(prefix_tokens_Bl))


class TakesAnyPrefix(Teacher):
    def start(self, condition, prefix_tokens_Bl=None):
        if prefix_tokens_Bl is not None:
            ends = [self.layout.offset(step) for step in range(4)]
            prefix_tokens_Bl = prefix_tokens_Bl[:, : max(e for e in ends if e <= prefix_tokens_Bl.shape[1])]
        return super().start(condition, prefix_tokens_Bl)


class SharedTrunk(Teacher):
    def trunk(self):
        self.kept = getattr(self, "kept", None) or super().trunk()
        trunk = super().trunk()
        trunk.position_LD = self.kept.position_LD
        return trunk


class TrunkSeesItsOwnStep(Teacher):
    def trunk(self):
        trunk = super().trunk()
        trunk.earlier_LL = trunk.earlier_LL + torch.eye(5)
        return trunk


class TrunkByChance(Teacher):
    def trunk(self):
        trunk = super().trunk()
        nn.init.normal_(trunk.position_LD)
        return trunk


class DeafTrunk(Teacher):
    def trunk(self):
        class Deaf(ToyTrunk):
            def forward(self, latents_BLC, condition):
                return super().forward(latents_BLC.detach(), condition)

        return Deaf(self.sizes, 0)


class TrunkKeepsALayerBack(Teacher):
    def trunk(self):
        class Forgetful(ToyTrunk):
            def state_dict(self, *args, **more):
                return {k: v for k, v in super().state_dict(*args, **more).items() if "mlp" not in k}

            def load_state_dict(self, state, strict=True, assign=False):
                return super().load_state_dict(state, strict=False)

        return Forgetful(self.sizes, 0)


class Jumper(ToyJumper):
    """What breaks below is what a teacher hands out as its own student."""

    def __init_subclass__(cls):
        def jumper(teacher, jumps, seed):
            return cls(teacher.sizes, jumps, seed)

        cls.teacher = type(cls.__name__, (Teacher,), {"jumper": jumper})


class TouchesThePrefix(Jumper):
    def jump(self, latents_BLC, condition, start=0):
        made = super().jump(latents_BLC, condition, start)
        return Prediction(made.latents_BLC + 1e-6, made.logits_BLV)


class HearsEverybody(Jumper):
    def forward(self, latents_BLC, condition, start=0):
        made = super().forward(latents_BLC, condition, start)
        return Prediction(made.latents_BLC + latents_BLC.mean(1, keepdim=True), made.logits_BLV)


class OneStartForAll(Jumper):
    def forward(self, latents_BLC, condition, start=0):
        return super().forward(
            latents_BLC, condition, int(start[0]) if isinstance(start, torch.Tensor) else start
        )


class NoLogits(Jumper):
    def jump(self, latents_BLC, condition, start=0):
        return Prediction(super().jump(latents_BLC, condition, start).latents_BLC)


class HeadByChance(Jumper):
    def __init__(self, *args):
        super().__init__(*args)
        nn.init.normal_(self.to_latent.weight)


class HidesALayer(Jumper):
    def __init__(self, *args):
        super().__init__(*args)
        self.hidden = [nn.Linear(3, 3)]
        nn.init.eye_(self.hidden[0].weight)
        nn.init.zeros_(self.hidden[0].bias)

    def forward(self, latents_BLC, condition, start=0):
        made = super().forward(latents_BLC, condition, start)
        return Prediction(self.hidden[0](made.latents_BLC), made.logits_BLV)


class AnyJumps(Jumper):
    def __init__(self, sizes, jumps, seed):
        inside = attrs.evolve(jumps, starts=tuple(start for start in jumps.starts if start < 3))
        super().__init__(sizes, inside, seed)


class CallWithoutLogits(Jumper):
    def forward(self, latents_BLC, condition, start=0):
        return Prediction(super().forward(latents_BLC, condition, start).latents_BLC)

    def jump(self, latents_BLC, condition, start=0):
        made, cut = ToyJumper.forward(self, latents_BLC, condition, start), self.layout.offset(start)
        latents_BLC = torch.cat([latents_BLC[:, :cut], made.latents_BLC[:, cut:]], dim=1)
        return Prediction(latents_BLC.detach(), made.logits_BLV.detach())


class JumpsElsewhere(Jumper):
    def jump(self, latents_BLC, condition, start=0):
        made, cut = super().jump(latents_BLC, condition, start), self.layout.offset(start)
        return Prediction(
            torch.cat([made.latents_BLC[:, :cut], 1.1 * made.latents_BLC[:, cut:]], 1), made.logits_BLV
        )


class Fixed(Jumper):
    def forward(self, latents_BLC, condition, start=0):
        with torch.no_grad():
            return super().forward(latents_BLC, condition, start)


TEACHERS = {
    Unnormalised: ("log_probs_are_distributions", "sum to 1.10517"),
    DoubleLogProbs: ("log_probs_are_distributions", "is float64 (1, 5, 5) on cpu instead of float32"),
    SeesItsOwnStep: ("later_steps_do_not_matter", "with the tokens of steps"),
    SeesTheBatch: ("an_image_does_not_depend_on_its_batch", "away from those it has alone"),
    Dropout: ("the_draw_decides_a_sample", "log_probs() came out differently"),
    Drifting: ("nobody_changes_the_teacher", "sampling changed its table_YLHV"),
    NotFrozen: ("its_distribution_is_a_constant", "with a gradient"),
    Unfiltered: ("top_k_leaves_k_codes", "and top_k=2"),
    TensorInConstants: ("constants_are_told_in_json", "JSON can't hold"),
    OffByOne: ("the_cursor_agrees_with_one_pass", "from one pass at step"),
    Stuck: ("the_cursor_walks_the_layout", "cursor.step is 0 after 1 steps"),
    ForgetsItsPrefix: ("a_prefix_is_as_if_stepped", "after a prefix of 1 steps"),
    TakesAnyPrefix: ("a_prefix_ends_a_step", "a cursor after 2 tokens"),
    SharedTrunk: ("a_trunk_is_independent", "position_LD (kept.position_LD) share memory with the teacher's"),
    TrunkSeesItsOwnStep: ("a_trunk_sees_earlier_steps_alone", "features of steps 0..0 moved"),
    TrunkByChance: ("trunks_are_alike", "another ['position_LD'] the second time"),
    DeafTrunk: ("a_trunk_passes_gradients", "no gradient in the latents of any step but the last"),
    TrunkKeepsALayerBack: ("a_trunks_state_is_whole", "in a trunk with its state loaded"),
    OfCaptions: ("it_has_what_the_protocol_demands", "n_classes is 0, so that only captions fit"),
    RoughLogProbs: ("it_works_in_bfloat16", "log_probs() is bfloat16"),
    ToNowhere: ("it_moves_to_a_device", "to(device) gives NoneType, which is no teacher"),
    WrongWidth: (
        "a_trunk_gives_a_feature_a_token",
        "is float32 (1, 5, 16) on cpu instead of float32 (1, 5, 15)",
    ),
    CallWithoutLogits.teacher: ("jumper: a_call_predicts_every_token", "logits of a call is NoneType"),
    JumpsElsewhere.teacher: ("jumper: a_jump_is_a_call", "differ between a call and jump()"),
    TouchesThePrefix.teacher: ("jumper: a_jump_leaves_the_prefix_alone", "latents of steps before 1 moved"),
    HearsEverybody.teacher: ("jumper: positions_see_what_the_alignment_allows", "may not see position"),
    OneStartForAll.teacher: ("jumper: rows_may_start_apart", "differ from those it has alone"),
    NoLogits.teacher: ("jumper: a_jump_predicts_every_token", "no logits, which Jump(start=0, split=3"),
    HeadByChance.teacher: ("jumper: the_seed_decides_fresh_weights", "another ['to_latent.weight']"),
    HidesALayer.teacher: ("jumper: it_is_independent_of_the_teacher", "that parameters() does not list"),
    AnyJumps.teacher: ("jumper: jumps_beyond_the_steps_are_refused", "starts=0,3 of a teacher of 3 steps"),
    Fixed.teacher: ("jumper: gradients_reach_the_jumper_alone", "cut off from its gradient"),
}


class SharesTheCodes(PlainStudent):
    def __init__(self, teacher, seed=0):
        super().__init__(teacher, seed)
        self.codes = nn.Parameter(teacher.tokenizer.codebook)


class KeepsStateAside(PlainStudent):
    """What training changes is in no state dict."""

    def __init__(self, teacher, seed=0):
        super().__init__(teacher, seed)
        self.register_parameter("shift", nn.Parameter(torch.zeros(3)))

    def state_dict(self, *args, **more):
        return {k: v for k, v in super().state_dict(*args, **more).items() if not k.endswith("shift")}

    def load_state_dict(self, state, strict=True, assign=False):
        return super().load_state_dict(state, strict=False)

    def forward(self, noise_BLC, condition):
        return super().forward(noise_BLC, condition) + self.shift


class BatchStudent(PlainStudent):
    def forward(self, noise_BLC, condition):
        return super().forward(noise_BLC - noise_BLC.mean(0), condition)


class StartsLate(PlainStudent):
    jumps = (Jump(1),)


class GrainyStudent(PlainStudent):
    def jump(self, latents_BLC, condition, start=0):
        made = super().jump(latents_BLC, condition, start)
        return Prediction(made.latents_BLC + torch.randn(()))


class ScribblingStudent(PlainStudent):
    def jump(self, latents_BLC, condition, start=0):
        made = super().jump(latents_BLC, condition, start)
        latents_BLC.zero_()
        return made


class PlansBeyond(PlainStudent):
    def __init__(self, teacher, seed=0):
        super().__init__(teacher, seed)
        self.schedules = {"long": Schedule((Jump(0), Redraw(1, 9)), "long")}


class StudentOverflowsInBfloat16(PlainStudent):
    def forward(self, noise_BLC, condition):
        return super().forward(noise_BLC, condition) / (not torch.is_autocast_enabled("cpu"))


STUDENTS = {
    ScribblingStudent: ("nothing_given_is_changed", "jump() changed its arguments.latents"),
    PlansBeyond: ("schedules_can_be_followed", "step 9 is outside 0..3"),
    StudentOverflowsInBfloat16: ("it_works_in_bfloat16", "nan or infinity in the latents"),
    SharesTheCodes: ("it_is_independent_of_the_teacher", "codes (tokenizer.codebook) share memory"),
    KeepsStateAside: ("its_state_rebuilds_it", "latents that differ by"),
    BatchStudent: ("an_image_does_not_depend_on_its_batch", "latents of image 0 differ"),
    StartsLate: ("it_has_what_the_protocol_demands", "jumps that start at [1], not at 0 first"),
    GrainyStudent: ("the_same_comes_out_again", "global randomness, or a state of its own"),
}


class LossByChance(PlainMethod):
    def losses(self, role, draw):
        return {"mse": super().losses(role, draw)["mse"] * (1 + torch.rand(()))}


class UnknownRole(PlainMethod):
    def phases(self):
        class Phase(PlainPhase):
            def role(self, update):
                return "student" if update % 4 else "guidance"

        return tuple(Phase(p.name, p.roles, p.losses, p.begin) for p in super().phases())


class AverageIsTheNetwork(PlainMethod):
    def __init__(self, teacher, context):
        super().__init__(teacher, context)
        self.average.head.weight = self.network.head.weight


class BeginTrains(PlainMethod):
    def begin(self):
        with torch.no_grad():
            self.network.head.bias.add_(0.01)


class BeginIsForgotten(PlainMethod):
    """What begin() sets is lost to a run that resumes."""

    scale = 1.0

    def begin(self):
        self.scale = 2.0

    def losses(self, role, draw):
        mse = super().losses(role, draw)["mse"]
        return {"mse": mse + (self.scale - 1) * self.network.head.bias.square().sum()}


class LossCutOff(PlainMethod):
    def losses(self, role, draw):
        return {"mse": super().losses(role, draw)["mse"].detach()}


class LossPerImage(PlainMethod):
    def losses(self, role, draw):
        return {"mse": super().losses(role, draw)["mse"].expand(len(draw))}


class LossMovesTheAverage(PlainMethod):
    def losses(self, role, draw):
        self.average.head.bias.data.add_(0.01)
        return super().losses(role, draw)


class LearnsNothing(PlainMethod):
    def phases(self):
        role = Role(self.network, lr=0.0, average=self.average)
        return tuple(PlainPhase(p.name, {"student": role}, p.losses, p.begin) for p in super().phases())


class KeepsANetworkBack(PlainMethod):
    def __init__(self, teacher, context):
        super().__init__(teacher, context)
        self.modules = {"average": self.average}


class WritesAtOnce(PlainMethod):
    def __init__(self, teacher, context):
        super().__init__(teacher, context)
        context.folder.mkdir(parents=True, exist_ok=True)
        (context.folder / "cache.bin").write_bytes(b"1")


class StartsByChance(PlainMethod):
    def __init__(self, teacher, context):
        super().__init__(teacher, context)
        nn.init.normal_(self.network.head.weight)


class OneNameForBoth(PlainMethod):
    def phases(self):
        return tuple(PlainPhase("fit", p.roles, p.losses, p.begin) for p in super().phases())


class StudentIsElsewhere(PlainMethod):
    def student(self):
        return PlainStudent(self.teacher)


class SpecWithATensor(PlainMethod):
    def __init__(self, teacher, context):
        super().__init__(teacher, context)
        self.student_spec = StudentSpec("plain", {"codes": CODES})


class Exploding(PlainMethod):
    def losses(self, role, draw):
        return {"mse": super().losses(role, draw)["mse"] / 0.0}


class PreparesByChance(PlainMethod):
    def prepare(self, progress):
        self.target = torch.rand(())

    def losses(self, role, draw):
        return {"mse": super().losses(role, draw)["mse"] + self.target * self.network.head.bias.sum()}


class MovesABystander(PlainMethod):
    def __init__(self, teacher, context):
        super().__init__(teacher, context)
        self.modules["bystander"] = nn.Linear(1, 1)
        nn.init.zeros_(self.modules["bystander"].weight)
        nn.init.zeros_(self.modules["bystander"].bias)

    def losses(self, role, draw):
        self.modules["bystander"].weight.data.add_(1)
        return super().losses(role, draw)


class LossOverflowsInBfloat16(PlainMethod):
    def losses(self, role, draw):
        return {"mse": super().losses(role, draw)["mse"] / (not torch.is_autocast_enabled("cpu"))}


METHODS = {
    MovesABystander: (
        "an_update_moves_its_role_alone",
        "an update of role student in phase first changed its modules.bystander.weight",
    ),
    LossOverflowsInBfloat16: ("updates_work_in_bfloat16", "the loss mse of role student is not finite"),
    LossByChance: (
        "losses_depend_on_the_draw_alone",
        "the loss of student in phase first came out differently",
    ),
    UnknownRole: (
        "updates_train_known_roles",
        "update 0 of phase first trains 'guidance'; its roles: student",
    ),
    AverageIsTheNetwork: ("averages_stand_apart", "head.weight (head.weight) share memory with the average"),
    BeginTrains: ("begin_copies_and_trains_nothing", "['student.head.bias'] weights that no module had"),
    BeginIsForgotten: ("training_resumes_bit_for_bit", "phase second ends otherwise when resumed"),
    LossCutOff: ("losses_are_finite_terms", "no gradient in the losses of student"),
    LossPerImage: ("losses_are_finite_terms", "loss mse of student in phase first is no scalar"),
    LossMovesTheAverage: ("losses_change_nothing", "changed its modules.average.head.bias"),
    LearnsNothing: ("training_lowers_a_loss", "losses in phase first: student from"),
    KeepsANetworkBack: ("modules_hold_all_that_is_trained", "are in no module of the method"),
    WritesAtOnce: ("making_it_writes_nothing", "['cache.bin'] in the run's folder"),
    StartsByChance: ("the_context_decides_the_start", "another ['student.head.weight'] the second time"),
    OneNameForBoth: ("phases_are_well_formed", "phases called ['fit', 'fit']"),
    StudentIsElsewhere: ("its_student_is_one_of_its_modules", "of the student in no module of the method"),
    SpecWithATensor: ("it_has_what_the_protocol_demands", "JSON can't hold"),
    Exploding: ("losses_are_finite_terms", "loss mse of student in phase first is inf"),
    PreparesByChance: ("preparing_again_changes_nothing", "another loss ['mse'] of student in phase first"),
}


def by_batch(settings, teacher, condition, noise_BLC, draw):
    return teacher_tokens(teacher, condition, torch.special.ndtr((noise_BLC - noise_BLC.mean(0))[..., 0]))


def by_chance(settings, teacher, condition, noise_BLC, draw):
    return teacher_tokens(teacher, condition, torch.rand(noise_BLC.shape[:2]))


def by_draw(settings, teacher, condition, noise_BLC, draw):
    return teacher_tokens(teacher, condition, draw.uniform("token", noise_BLC.shape[1]))


def beyond(settings, teacher, condition, noise_BLC, draw):
    return torch.full(noise_BLC.shape[:2], len(teacher.tokenizer.codebook))


def of_no_chance(settings, teacher, condition, noise_BLC, draw):
    return draw.integers("token", len(teacher.tokenizer.codebook), noise_BLC.shape[1])


def scribbling(settings, teacher, condition, noise_BLC, draw):
    return teacher_tokens(teacher, condition, torch.special.ndtr(noise_BLC.mul_(0.5)[..., 0]))


def narrow(settings, teacher, condition, noise_BLC, draw):
    return by_draw(settings, teacher, condition, noise_BLC, draw).int()


def by_larger_batch(settings, teacher, condition, noise_BLC, draw):
    """Right up to four pairs at once."""
    return (by_batch if len(noise_BLC) > 4 else by_draw)(settings, teacher, condition, noise_BLC, draw)


TRAJECTORIES = {
    by_larger_batch: ("pairs_can_be_stored", "of the tokens of 5 pairs differ between batches of 2 and 5"),
    by_batch: ("a_pair_does_not_depend_on_its_batch", "tokens of image"),
    by_chance: ("seed_and_index_decide_a_pair", "the tokens came out differently"),
    by_draw: ("noise_decides_where_it_is_said_to", "that changed with the draw"),
    beyond: ("tokens_are_of_the_codebook", "tokens 5..5, and there are 5 codes"),
    of_no_chance: ("tokens_have_a_chance", "that the teacher never draws there"),
    scribbling: ("nothing_given_is_changed", "the trajectory changed its noise"),
    narrow: ("tokens_are_of_the_codebook", "is int32 (1, 5)"),
}


class Data:
    """A dataset that keeps its promises."""

    name, n_classes, image_shape, features, splits, sha256 = "d", 4, (1, 2, 2), "f", ("train", "test"), "ab"

    def images(self, split, draw, labels_B=None):
        labels_B = draw.integers("label", 4) if labels_B is None else labels_B
        return 2 * draw.uniform(split, 1, 2, 2) - 1, labels_B

    def folder(self, split):
        return None

    def weights(self, name):
        return None


class Bytes(Data):
    def images(self, split, draw, labels_B=None):
        images, labels_B = super().images(split, draw, labels_B)
        return (127.5 * (images + 1)).round(), labels_B


class OwnLabels(Data):
    def images(self, split, draw, labels_B=None):
        return super().images(split, draw)


class ShuffledByChance(Data):
    def images(self, split, draw, labels_B=None):
        images, labels_B = super().images(split, draw, labels_B)
        return images[:, :, torch.randperm(2)], labels_B


class AnyFile(Data):
    def weights(self, name):
        return name


DATASETS = {
    Bytes: ("images_are_images", "pixels of train within ["),
    OwnLabels: ("labels_asked_for_are_given", "of train instead of ["),
    ShuffledByChance: ("the_draw_decides_an_image", "the second time"),
    AnyFile: ("it_has_what_the_protocol_demands", "weights() of an unknown name are nobody/nothing"),
}


class Network:
    """A feature network that keeps its promises."""

    name, n_features = "f", 12

    def __call__(self, images_BCHW):
        features_BF = images_BCHW.flatten(1)
        return features_BF, features_BF[:, :2]


class Miscounted(Network):
    n_features = 13


class NormalisedByBatch(Network):
    def __call__(self, images_BCHW):
        features_BF, logits_BZ = super().__call__(images_BCHW)
        return features_BF - features_BF.mean(0), logits_BZ


class Scribbles(Network):
    def __call__(self, images_BCHW):
        return super().__call__(images_BCHW.mul_(0.5))


NETWORKS = {
    Scribbles: ("features_leave_what_they_see", "looking changed its images"),
    Miscounted: ("features_are_features", "features is float32 (1, 12) on cpu instead of float32 (1, 13)"),
    NormalisedByBatch: ("features_do_not_depend_on_the_batch", "features of image 0 differ"),
}
