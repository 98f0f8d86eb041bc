"""docs/imagenet.md: its words are words, and its sizes are those of the networks."""

import re
from pathlib import Path

import attrs
import pytest
import torch
from ardistill_dd2.config import DD2Config, HeadConfig
from ardistill_dd2.student import ARDiffusion
from ardistill_llamagen import config as llamagen
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig
from ardistill_llamagen.transformer import GPT
from ardistill_var import config as var
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR

from ardistill.config import load
from ardistill.plugins import discover
from ardistill.schedules import Jumps

PAGE = (Path(__file__).parents[2] / "docs" / "imagenet.md").read_text()
COLUMNS = ("d16", "d20", "d24", "L")
SIZES = ("var-d16", "var-d20", "var-d24", "llamagen-B", "llamagen-L")


def dd2_words(column):
    """The words of one column of the table."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 11
    return {row[0]: row[1 + COLUMNS.index(column)].replace(",", "") for row in rows}


@pytest.mark.parametrize("column", COLUMNS)
def test_docs_words_of_the_dd2_table_are_accepted(column):
    """Each with the teacher it is for."""
    words = [f"method.{word}={value}" for word, value in dd2_words(column).items()]
    teacher = (
        ["teacher=llamagen", "teacher.preset=c2i-L"]
        if column == "L"
        else ["teacher=var", f"teacher.preset={column}"]
    )
    config = load(
        ["method=dd2", "method.preset=var-d16", *teacher, "data=classes", *words], registry=discover()
    ).method.settings
    for word, value in dd2_words(column).items():
        assert getattr(config, word) == float(value), word


def test_docs_first_column_of_the_dd2_table_is_the_preset():
    preset = DD2Config.presets()["var-d16"]
    for word, value in dd2_words("d16").items():
        assert preset[word] == float(value), word


@pytest.mark.parametrize("column", COLUMNS)
def test_docs_phases_of_the_dd2_table_are_whole_updates(column):
    words = {word: float(value) for word, value in dd2_words(column).items()}
    tune, csd = DD2Config.presets()["var-d16"]["tune_batch"], words["batch"]
    for word, batch in {
        "tune_head_images": tune,
        "tune_images": tune,
        "csd_images": csd,
        "align_images": csd,
        "align_guidance_images": csd,
    }.items():
        assert words[word] % batch == 0, word
    assert words["csd_images"] % (csd * (words["csd_ratio"] + 1)) == 0


@pytest.fixture(scope="module")
def counted():
    """Parameters of teacher with tokenizer, of DD1's student and of DD2's, by size, on the meta device."""
    head, found = HeadConfig(**DD2Config.presets()["var-d16"]["head"]), {}
    for size in SIZES:
        family, name = size.split("-")
        with torch.device("meta"):
            if family == "var":
                model, coder = var.PRESETS[name]
                teacher = VARTeacher(VAR(model), VARTokenizer(coder))
            else:
                network = GPT(llamagen.PRESETS[f"c2i-{name}"])
                teacher = LlamaGenTeacher(network, LlamaGenTokenizer(LlamaGenTokenizerConfig()))
            made = (
                teacher,
                teacher.jumper(Jumps(starts=(0, 1), split=1), 0),
                ARDiffusion.of(teacher, head, 0),
            )
        found[size] = [sum(each.numel() for each in network.parameters()) for network in made]
    return found


def told(line):
    """The numbers of a line of the table of sizes, or of the sentence that counts parameters, in their order."""
    (text,) = re.findall(line, PAGE, re.DOTALL)
    return [
        float(number.replace(",", "")) for number in re.findall(r"(?<![\w-])\d[\d,]*(?:\.\d+)?(?!\w)", text)
    ]


def test_docs_sizes_are_those_of_the_networks(counted):
    teachers, dd1, dd2 = ([counted[size][index] for size in SIZES] for index in range(3))
    vars_ = told(r"VAR-d16 / d20 / d24 with the tokenizer, float32 \| (.*?) GB")
    assert vars_ + told(r"LlamaGen-B / L with the tokenizer, float32 \| (.*?) GB") == [
        round(count * 4 / 1e9, 1) for count in teachers
    ]
    assert told(r"16 bytes a parameter: (.*?), \*computed") == [round(count * 16 / 1e9, 1) for count in dd1]
    without_b = [*dd2[:3], dd2[4]]
    assert told(r"28 bytes a parameter: (.*?), \*computed") == [
        round(count * 28 / 1e9, 1) for count in without_b
    ]
    assert told(r"Parameters of the students: DD1 (.*?) million") + told(
        r"and d24, (.*?) for LlamaGen-B"
    ) == [round(count / 1e6) for count in dd1]
    assert told(r"; DD2 (.*?) for VAR, ") + told(r"for VAR, (.*?) for LlamaGen-L, counted") == [
        round(count / 1e6) for count in without_b
    ]


def test_docs_sizes_of_pairs_and_samples():
    assert told(r"1,200,000 pairs of VAR / LlamaGen \| (.*?) GB") == [
        round(1.2e6 * each / 1e9, 2) for each in (1364, 516)
    ]
    samples = DD2Config.presets()["var-d16"]["tuning_samples"]
    assert f"{samples:,} tuning samples" in PAGE
    assert told(r"tuning samples of VAR / LlamaGen \| (.*?) GB") == [
        round(samples * (4 * tokens + 8) / 1e9, 1) for tokens in (680, 256)
    ]


def test_docs_presets_that_are_named_are_there():
    config = attrs.fields_dict(DD2Config)
    assert set(dd2_words("d16")) <= set(config)
    for preset in re.findall(r"method\.preset=([\w-]+)", PAGE):
        method = "dd2" if f"method=dd2 method.preset={preset}" in PAGE else "dd1"
        load([f"method={method}", f"method.preset={preset}", "teacher=var"], registry=discover())
