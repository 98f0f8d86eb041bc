"""Several plugins chosen by one word, each with settings of its own."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ardistill.config import Section, Sections, dump_toml, sections_of, structure_words
from ardistill.errors import ConfigError, PluginError
from tests.core.toy_config import BoundedConfig, RecordedConfig, toy_registry


@attrs.frozen(kw_only=True)
class Words:
    teachers: Sections = attrs.field(factory=Sections, metadata=sections_of("teacher"))
    quick: bool = False


def read(*words, toml=None):
    return structure_words(words, Words, toml, toy_registry())


def test_none_by_default_and_names_in_their_order():
    assert read().teachers == Sections()
    assert read("teachers=").teachers == Sections()
    named = read("teachers=recorded, bounded,recorded").teachers
    assert [section.name for section in named.chosen] == ["recorded", "bounded"]


def test_settings_choose_too_and_presets_and_quick_reach_them():
    made = read("teachers.bounded.low=0.5", "teachers=recorded", "teachers.recorded.width=3").teachers
    assert made == Sections(
        (Section("recorded", RecordedConfig(width=3)), Section("bounded", BoundedConfig(low=0.5)))
    )
    assert read("teachers=recorded", "quick=true").teachers.chosen[0].settings.width == 1


@settings(deadline=None)
@given(st.permutations(["recorded", "bounded"]), st.integers(1, 99), st.floats(-9, 0.5))
def test_what_is_written_gives_itself_again(tmp_path_factory, order, width, low):
    path = tmp_path_factory.mktemp("toml") / "config.toml"
    made = read(
        f"teachers={','.join(order)}", f"teachers.recorded.width={width}", f"teachers.bounded.low={low}"
    )
    path.write_text(dump_toml(made))
    assert read(toml=path) == made


def test_words_stand_over_a_file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[teachers.recorded]\nwidth = 4\n[teachers.bounded]\nlow = 0.25\n")
    assert [section.name for section in read(toml=path).teachers.chosen] == ["recorded", "bounded"]
    assert read("teachers.recorded.width=5", toml=path).teachers.chosen[0].settings.width == 5
    (only,) = read("teachers=bounded", toml=path).teachers.chosen
    assert only.settings.low == 0.25
    path.write_text('teachers = ["bounded"]\n')
    assert read(toml=path).teachers == Sections((Section("bounded", BoundedConfig()),))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["teachers.bounded.lo=1"], "unknown key teachers.bounded.lo; did you mean teachers.bounded.low?"),
        (["teachers.bounded.low=x"], "teachers.bounded.low must be a finite number, not 'x'"),
        (["teachers.bounded.low=2"], "teachers.bounded.low must be below high, not 2.0 >= 1.0"),
        (["teachers.bounded=3"], "teachers.bounded must be a section of settings, not '3'"),
    ],
)
def test_what_is_wrong_is_told_by_its_whole_key(words, sentence):
    with pytest.raises(ConfigError) as error:
        read(*words)
    assert str(error.value) == sentence


def test_unknown_names():
    with pytest.raises(PluginError, match="unknown teacher 'bouded'; did you mean bounded"):
        read("teachers=bouded")
