"""Configuration: strictness, sections, presets, layers, and that a written configuration gives itself again."""

import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardistill.config import (
    CheckpointConfig,
    EvalConfig,
    NoSettings,
    RunConfig,
    Section,
    dump_toml,
    load,
    parse_words,
    structure_words,
)
from ardistill.config.path_length import PathLengthConfig
from ardistill.config.values import converter
from ardistill.config.words import Word
from ardistill.errors import ConfigError, PluginError
from tests.core.toy_config import (
    BoundedConfig,
    Colour,
    Inner,
    Level,
    RecordedConfig,
    ToyConfig,
    toy_registry,
)

BASE = ["method=toy", "teacher=bounded"]


def read(*words: str, toml: str | None = None, folder: Path | None = None) -> RunConfig:
    path = None
    if toml is not None:
        assert folder is not None
        path = folder / "given.toml"
        path.write_text(toml)
    return load(list(words), path, toy_registry())


def toy(*words: str) -> ToyConfig:
    settings = read(*BASE, *words).method.settings
    assert isinstance(settings, ToyConfig)
    return settings


def complaint(*words: str, cls: type = ToyConfig) -> str:
    with pytest.raises(ConfigError) as error:
        structure_words(words, cls, registry=toy_registry())
    return str(error.value)


# Words


def test_words_become_a_tree() -> None:
    assert parse_words(["method=dd2", "method.alpha=1.0", "seed=3", "out=a=b"]) == {
        "method": {"name": "dd2", "alpha": "1.0"},
        "seed": "3",
        "out": "a=b",
    }
    assert parse_words(["method.alpha=1", "method=dd2"]) == parse_words(["method=dd2", "method.alpha=1"])
    assert parse_words(["a.b.c=1", "a.b=x", "a=y"]) == {"a": {"name": "y", "b": {"name": "x", "c": "1"}}}


@pytest.mark.parametrize(
    "words",
    [["seed=1", "seed=1"], ["a=x", "a.b=1", "a.name=y"], ["a.name=y", "a=x"], ["a.b=1", "a=x", "a=y"]],
)
def test_duplicate_words_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^[\w.]+ is given twice$"):
        parse_words(words)


@pytest.mark.parametrize(
    "word", ["seed", "--seed=1", "=1", "a..b=1", ".a=1", "a.=1", "a b=1", "", "1a=2", "é=1", "a\n=1"]
)
def test_malformed_words_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="is not a word of the form key=value") as error:
        parse_words([word])
    assert str(error.value).isprintable()


def test_undecodable_words_are_refused_printably() -> None:
    with pytest.raises(ConfigError, match=r"^the value of out is not valid UTF-8: '\\udcff'$"):
        parse_words(["out=\udcff"])


# Values


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("ema=false", False),
        ("alpha=1", 1.0),
        ("alpha=1e-3", 1e-3),
        ("alpha=.5", 0.5),
        ("steps=1_000", 1000),
        ("title=1", "1"),
        ("title=", ""),
        ("form=dmd", "dmd"),
        ("form=3", 3),
        ("colour=blue", Colour.BLUE),
        ("level=2", Level.HIGH),
        ("sizes=3,4,5", (3, 4, 5)),
        ("sizes=7", (7,)),
        ("sizes=", ()),
        ("betas=0.5,1", (0.5, 1.0)),
        ("limit=none", None),
        ("limit=3", 3),
        ("share=auto", "auto"),
        ("share=0.25", 0.25),
        ("folder=x/y", Path("x/y")),
        ("folder=~", Path.home()),
        ("inner.depth=3", Inner(depth=3)),
        ("other.depth=3", Inner(depth=3)),
        ("other=none", None),
    ],
)
def test_words_are_read_as_their_fields_demand(word: str, value: object) -> None:
    key = word.partition("=")[0].partition(".")[0]
    read = getattr(structure_words([word], ToyConfig), key)
    assert read == value
    assert type(read) is type(value)


FINITE = "must be a finite number, not"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("ema=flase", "ema must be true or false, not 'flase'"),
        ("ema=1", "ema must be true or false, not '1'"),
        ("ema=True", "ema must be true or false, not 'True'"),
        ("steps=1.9", "steps must be a whole number, not '1.9'"),
        ("steps= 1", "steps must be a whole number, not ' 1'"),
        ("steps=true", "steps must be a whole number, not 'true'"),
        ("steps=٣", "steps must be a whole number, not '٣'"),
        ("steps=", "steps must be a whole number, not ''"),
        ("steps=0", "steps must be at least 1, not 0"),
        ("steps=" + "9" * 30, f"steps must be at most {10**20}, not {'9' * 30}"),
        ("steps=" + "9" * 9000, f"steps must be a whole number, not '{'9' * 59}..."),
        ("alpha=0", "alpha must be more than 0, not 0.0"),
        ("alpha=nan", f"alpha {FINITE} 'nan'"),
        ("alpha=-inf", f"alpha {FINITE} '-inf'"),
        ("alpha=1e999", f"alpha {FINITE} '1e999'"),
        ("alpha=1,5", f"alpha {FINITE} '1,5'"),
        ("form=sdi", "form must be one of sid, dmd, 3, not 'sdi'; did you mean sid?"),
        ("colour=RED", "colour must be one of red, blue, not 'RED'"),
        ("colour=rod", "colour must be one of red, blue, not 'rod'; did you mean red?"),
        ("level=3", "level must be one of 1, 2, not '3'"),
        ("sizes=1,x", "sizes[1] must be a whole number, not 'x'"),
        ("sizes=1,", "sizes[1] must be a whole number, not ''"),
        ("sizes=1,2,3,4,5,6", "the length of sizes must be at most 5, not 6"),
        ("betas=1", "betas must be a list, each part a finite number, 2 in all, not ['1']"),
        ("limit=nope", "limit must be a whole number, not 'nope'"),
        ("share=much", "share must be a finite number or one of auto, not 'much'"),
        ("folder=", "folder must be a path, not ''"),
        ("folder=a\0b", r"folder must be a path, not 'a\x00b'"),
        ("title.x=3", "unknown key title.x; title takes text"),
        ("inner=3", "inner must be a section with the keys depth, checkpoint, not '3'"),
        ("inner.depth=0", "inner.depth must be at least 1, not 0"),
        ("inner.dept=3", "unknown key inner.dept; did you mean inner.depth?"),
        ("innner.depth=3", "unknown key innner; did you mean inner?"),
        ("depth=3", "unknown key depth; did you mean other.depth?"),
        ("zzz=3", "unknown key zzz; known here: alpha, ema, steps, "),
    ],
)
def test_wrong_words_are_one_sentence(word: str, sentence: str) -> None:
    said = complaint(word)
    assert said.startswith(sentence)
    assert said.isprintable()


@given(st.text() | st.from_regex(r"[+-]?[\d_.eE]+", fullmatch=True))
def test_numbers_are_read_as_python_reads_them_or_not_at_all(text: str) -> None:
    for kind in (int, float):
        try:
            read = converter.structure(Word(text), kind)
        except ValueError:
            continue
        assert read == kind(text)
        assert type(read) is kind


native = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(native, st.sampled_from([bool, int, float, str, Path, Colour, Level, tuple[int, ...]]))
def test_native_values_keep_their_type_or_are_refused(value: object, kind: Any) -> None:
    try:
        read = converter.structure(value, kind)
    except ValueError:
        assert not (type(value) is kind and kind in (bool, int, str))
        return
    expected = {
        float: (int, float), Path: (str,), Colour: (str,), Level: (int,), tuple[int, ...]: (list,)
    }.get(kind, (kind,))  # fmt: skip
    assert type(value) in expected
    assert type(read) is (tuple if kind == tuple[int, ...] else kind) or issubclass(type(read), Path)


# Sections


def test_a_section_takes_the_class_of_its_plugin() -> None:
    config = read("method=toy", "method.alpha=2", "teacher.high=3", "teacher=bounded", "seed=4")
    assert config == RunConfig(
        method=Section("toy", ToyConfig(alpha=2.0)),
        teacher=Section("bounded", BoundedConfig(high=3.0)),
        data=Section("digits", NoSettings()),
        seed=4,
    )
    assert type(config.method.name) is str


def test_toml_and_words_give_the_same(tmp_path: Path) -> None:
    method = 'name = "toy"\nalpha = 2\nlevel = 2\nsizes = [3]\ninner.depth = 5'
    toml = f'seed = 4\n[method]\n{method}\n[teacher]\nname = "bounded"'
    words = [*BASE, "seed=4", "method.alpha=2", "method.level=2", "method.sizes=3", "method.inner.depth=5"]
    assert read(toml=toml, folder=tmp_path) == read(*words)
    short = 'method = "toy"\nteacher = "bounded"\n'
    assert read(toml=short, folder=tmp_path) == read(*BASE)


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("seed = 1.0", "seed must be a whole number, not 1.0"),
        ("seed = true", "seed must be a whole number, not True"),
        ('seed = "1"', "seed must be a whole number, not '1'"),
        ("quick = 1", "quick must be true or false, not 1"),
        ("out = 3", "out must be a path, not 3"),
        ("[seed]", "seed must be a whole number, not a section"),
        ("method.alpha = nan", "method.alpha must be a finite number, not nan"),
        ("method.sizes = [1, 2.0]", "method.sizes[1] must be a whole number, not 2.0"),
        ("method = 3", "method must be the name of a method, not 3"),
        ('"a\\u001bb" = 3', r"unknown key 'a\x1bb'; known here: teacher, "),
        ("seed = ", "{path} is not a TOML file: Invalid value (at end of document)"),
        ("seed = " + "9" * 5000, "{path} is not a TOML file: "),
    ],
)
def test_wrong_toml_is_one_sentence(tmp_path: Path, toml: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(*(BASE if "method = 3" not in toml else BASE[1:]), toml=toml, folder=tmp_path)
    assert str(error.value).startswith(sentence.format(path=tmp_path / "given.toml"))
    assert str(error.value).isprintable()


def test_unreadable_files_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b'out = "\xff"')
    for name, reason in [
        ("absent", "No such file or directory"),
        ("", "Is a directory"),
        ("latin", "not a TOML file"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            load(BASE, tmp_path / name, toy_registry())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["teacher=bounded"], "method is missing; write method=NAME, known: named (of toys), odd"),
        (["method=", "teacher=bounded"], "method is missing"),
        (["method=tyo", "teacher=bounded"], "unknown method 'tyo'; did you mean toy? known: named (of toys), odd"),
        ([*BASE, "method.alhpa=1"], "unknown key method.alhpa; did you mean method.alpha?"),
        ([*BASE, "alpha=1"], "unknown key alpha; did you mean method.alpha?"),
        ([*BASE, "teacher.low=2"], "teacher.low must be below high, not 2.0 >= 1.0"),
        ([*BASE, "method.inner.depth=0"], "method.inner.depth must be at least 1, not 0"),
        ([*BASE, "eval.batch=0"], "eval.batch must be at least 1, not 0"),
        ([*BASE, "data.x=1"], "unknown key data.x; known here: none"),
        ([*BASE, "seed=-1"], "seed must be at least 0, not -1"),
        ([*BASE, f"seed={2**63}"], f"seed must be at most {2**63 - 1}, not {2**63}"),
        ([*BASE, "device=gpu"], "device must be auto, cpu, cuda or cuda:N, not 'gpu'"),
        (["method=named", "teacher=bounded"], "method named has a setting called name, which"),
        (["method=odd", "method.table=1", "teacher=bounded"], "method.table: a configuration class has a field"),
    ],
)  # fmt: skip
def test_wrong_runs_are_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises((ConfigError, PluginError)) as error:
        read(*words)
    assert str(error.value).startswith(sentence)


def test_devices() -> None:
    assert [read(*BASE, f"device={device}").device for device in ("auto", "cpu", "cuda", "cuda:1")]


def test_a_missing_setting_says_what_it_takes() -> None:
    @attrs.frozen
    class Strict:
        classes: tuple[int, ...]
        n: int = 3

    assert complaint("n=1", cls=Strict) == "classes is missing; it takes a list, each part a whole number"
    assert structure_words(["classes=1,2"], Strict) == Strict((1, 2))


def test_a_defect_of_a_config_class_is_not_the_users() -> None:
    @attrs.frozen
    class Faulty:
        n: int = 3

        def __attrs_post_init__(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        structure_words(["n=1"], Faulty)


# Layers


def test_a_nested_class_keeps_its_fields_default_where_nothing_is_said() -> None:
    assert toy("method.inner.checkpoint=x").inner == Inner(depth=7, checkpoint=Path("x"))
    assert toy("method.other.checkpoint=x").other == Inner(depth=2, checkpoint=Path("x"))


def test_words_override_the_file(tmp_path: Path) -> None:
    toml = 'seed = 4\n[method]\nname = "toy"\nalpha = 2\nother = {depth = 9}\n[teacher]\nname = "bounded"\nhigh = 9'
    config = read("method.alpha=3", "teacher=recorded", "method.other=none", toml=toml, folder=tmp_path)
    assert config.seed == 4
    assert config.method.settings == ToyConfig(alpha=3.0)
    assert config.teacher == Section("recorded", RecordedConfig())
    assert read("method.name=toy", toml=toml, folder=tmp_path).method.settings.alpha == 2.0


def test_presets_lie_between_defaults_and_words() -> None:
    paper = toy("method.preset=paper", "method.alpha=2")
    assert (paper.steps, paper.inner.depth, paper.alpha) == (500, 30, 2.0)
    assert (paper.colour, paper.folder, paper.title) == (Colour.BLUE, Path("paper"), "toy")
    assert toy("method.preset=paper", "method.steps=7", "method.inner.checkpoint=c").steps == 7
    assert toy("method.preset=paper", "method.inner.checkpoint=c").inner == Inner(30, Path("c"))


def test_quick_applies_the_preset_of_every_section_that_has_one() -> None:
    config = read("method=toy", "teacher=recorded", "quick=true", "method.steps=2")
    assert (config.method.settings.steps, config.method.settings.sizes) == (2, (9,))
    assert config.teacher.settings == RecordedConfig(preset="quick", width=1)
    assert config.quick
    assert toy("quick=true", "method.preset=paper").steps == 500
    assert toy("quick=false").steps == 10


def test_a_preset_asked_for_in_words_lies_over_the_file(tmp_path: Path) -> None:
    toml = 'method = {name = "toy", steps = 77, alpha = 3}\nteacher = "recorded"\n'
    config = read("quick=true", toml=toml, folder=tmp_path)
    assert (config.method.settings.steps, config.method.settings.alpha) == (1, 3.0)
    in_file = read(toml="quick = true\n" + toml, folder=tmp_path)
    assert (in_file.method.settings.steps, in_file.teacher.settings.width) == (77, 1)


def test_quick_in_the_file_outlives_another_choice_of_plugin(tmp_path: Path) -> None:
    toml = 'quick = true\nmethod = "toy"\nteacher = "bounded"\n'
    assert read("teacher=recorded", toml=toml, folder=tmp_path).teacher.settings.width == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["method.preset=quik"], "unknown preset 'quik' in method.preset; did you mean quick?"),
        (["method.preset=zzz"], "unknown preset 'zzz' in method.preset; known: quick, paper"),
        (["teacher.preset=quick"], "unknown key teacher.preset"),
        (["method.prest=quick"], "unknown key method.prest; did you mean method.preset?"),
    ],
)
def test_wrong_presets_are_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
        read(*BASE, *words)


# Round trips

text = st.text(st.characters(exclude_categories=["Cs"]))
paths = st.from_regex(r"[\w./ \"'\\\n-]+", fullmatch=True).filter(lambda p: p != "none").map(Path)
finite = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(Inner, st.integers(1), st.none() | paths)
toys = st.builds(
    ToyConfig,
    alpha=finite.filter(lambda x: x > 0),
    ema=st.booleans(),
    steps=st.integers(1, 10**20),
    title=text,
    form=st.sampled_from(["sid", "dmd", 3]),
    colour=st.sampled_from(Colour),
    level=st.sampled_from(Level),
    sizes=st.lists(st.integers(), max_size=5).map(tuple),
    betas=st.tuples(finite, finite),
    limit=st.none() | st.integers(),
    share=st.just("auto") | finite,
    folder=paths,
    inner=inners,
    other=st.none() | inners,
)
teachers = st.builds(
    Section, st.just("recorded"), st.builds(RecordedConfig, st.sampled_from(["", "quick"]), st.integers())
)
configs = st.builds(
    RunConfig,
    method=st.builds(Section, st.just("toy"), toys),
    teacher=teachers,
    data=st.just(Section("digits", NoSettings())),
    eval=st.builds(
        EvalConfig,
        protocol=st.sampled_from(["digits", "adm", "dd"]),
        n=st.none() | st.integers(1),
        labels=st.sampled_from([None, "balanced", "random"]),
        reference=st.none() | paths,
        features=st.sampled_from([None, "inception", "clip-vit-b-32"]),
        skip=st.floats(0, 0.5),
        ppl=st.builds(PathLengthConfig, n=st.integers(0), net=st.sampled_from([None, "vgg"])),
    ),
    checkpoint=st.builds(CheckpointConfig, st.integers(1), st.integers(1)),
    seed=st.integers(0, 2**63 - 1),
    out=st.none() | paths,
    device=st.sampled_from(["auto", "cpu", "cuda", "cuda:3"]),
    threads=st.integers(0, 4096),
    quick=st.booleans(),
)


@given(configs)
def test_a_written_configuration_gives_itself_again(
    tmp_path_factory: pytest.TempPathFactory, config: RunConfig
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    path.write_text(dump_toml(config), "utf-8")
    again = load([], path, toy_registry())
    assert again == config
    assert dump_toml(again) == dump_toml(config)
