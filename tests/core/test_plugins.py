"""Discovery with real distributions on the path: good ones, and every way of being broken that we name."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ardistill.errors import PluginError
from ardistill.plugins import KINDS, Registry, discover
from ardistill.records import OFFERS

GOOD = """
from ardistill.hookspecs import hookimpl
from ardistill.records import MethodOffer, TeacherOffer
ardistill_api = 1
@hookimpl
def ardistill_methods():
    yield MethodOffer("{name}", "a toy", "toy_nowhere:Toy", "toy_nowhere:Config")
"""

Install = Callable[..., Registry]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution with one plugin module on the path, and discovers."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def install(
        distribution: str, source: str, *, entry: str = "toy", entry_points: str | None = None
    ) -> Registry:
        module = f"plugin_of_{distribution.replace('-', '_')}"
        (site / f"{module}.py").write_text(source)
        info = site / f"{distribution.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        lines = entry_points if entry_points is not None else f"{entry} = {module}\n"
        (info / "entry_points.txt").write_text(f"[ardistill]\n{lines}")
        return discover()

    yield install
    for name in set(sys.modules) - before:
        if name.startswith(("plugin_of_", "toy_")):
            del sys.modules[name]


def reasons(registry: Registry, distribution: str) -> list[str]:
    return [problem.reason for problem in registry.problems if problem.origin.distribution == distribution]


def test_kinds_are_distinct() -> None:
    assert len(set(KINDS)) == len(OFFERS)


def test_bundled_plugins_come_through_entry_points() -> None:
    registry = discover()
    found = {(found.offer.kind, found.offer.name): found.origin for found in registry.offers()}
    origin = found["teacher", "var"]
    assert (origin.plugin, origin.distribution) == ("ardistill:var", "ardistill")
    assert reasons(registry, "ardistill") == []


def test_bundled_targets_exist() -> None:
    registry = discover()
    for found in registry.offers():
        if found.origin.distribution == "ardistill":
            assert callable(registry.load(found.offer.kind, found.offer.name))
            registry.config_class(found.offer.kind, found.offer.name)


def test_a_good_plugin_is_found(install: Install) -> None:
    registry = install("toy-dist", GOOD.format(name="toymethod"))
    assert reasons(registry, "toy-dist") == []
    (found,) = [found for found in registry.offers() if found.origin.distribution == "toy-dist"]
    assert found.offer is registry.get("method", "toymethod")
    assert (found.origin.plugin, found.origin.version) == ("toy-dist:toy", "1.5")
    assert "toymethod" in registry.names("method")
    assert "toymethod" not in registry.names("teacher")


BROKEN = {
    "raises": ("raise RuntimeError('no luck')", "it fails at import (RuntimeError: no luck)"),
    "import": ("import toy_absent", "it fails at import (ModuleNotFoundError: No module named 'toy_absent')"),
    "exits": ("import sys; sys.exit('bye')", "it fails at import (SystemExit: bye)"),
    "syntax": ("def", "it fails at import (SyntaxError: invalid syntax"),
    "no version": ("", "it does not state its API version (ardistill_api = 1)"),
    "new version": ("ardistill_api = 2", "it is made for API version 2, and this is version 1"),
    "odd version": ("ardistill_api = True", "it is made for API version True, and this is version 1"),
    "unknown hook": (
        GOOD.replace("ardistill_methods", "ardistill_metods"),
        "it implements an unknown hook ardistill_metods; did you mean ardistill_methods?",
    ),
    "hook with arguments": (
        GOOD.replace("ardistill_methods()", "ardistill_methods(registry)"),
        "its hooks do not fit (PluginValidationError: ",
    ),
    "hook raises": (GOOD.replace("yield ", "1 / 0; yield "), "ardistill_methods raises ZeroDivisionError: "),
    "hook raises late": (GOOD + "    1 / 0\n", "ardistill_methods raises ZeroDivisionError: "),
    "not iterable": (GOOD.replace("yield ", "return "), "ardistill_methods raises TypeError: "),
    "wrong record": (
        GOOD.replace("yield MethodOffer", "yield TeacherOffer").replace(', "toy_nowhere:Config")', ")"),
        "ardistill_methods yields TeacherOffer(",
    ),
    "no record": (GOOD + "    yield 3\n", "ardistill_methods yields 3, not a MethodOffer"),
    "bad target": (
        GOOD.replace("toy_nowhere:Toy", "toy"),
        "ardistill_methods raises ValueError: 'target' must",
    ),
    "bad name": (
        GOOD.replace("{name}", "two words"),
        "ardistill_methods yields an offer whose name is 'two words'",
    ),
    "bad summary": (
        GOOD.replace('"a toy"', "7"),
        "ardistill_methods yields toymethod with a summary that is not",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_a_problem_and_stops_nothing(install: Install, case: str) -> None:
    source, reason = BROKEN[case]
    good = install("good-dist", GOOD.format(name="goodmethod"))
    registry = install("broken-dist", source.replace("{name}", "toymethod"), entry="toymethod")
    assert len(reasons(registry, "broken-dist")) == 1
    assert reasons(registry, "broken-dist")[0].startswith(reason)
    assert set(good.names("method")) <= set(registry.names("method"))
    assert registry.get("method", "goodmethod").summary == "a toy"
    if case != "no record":
        with pytest.raises(
            PluginError, match=r"^method 'toymethod' is missing, and plugin broken-dist:toymethod is"
        ):
            registry.get("method", "toymethod")


def test_a_wrong_offer_leaves_the_right_ones_of_its_plugin(install: Install) -> None:
    registry = install("half-dist", GOOD.format(name="toymethod") + "    yield 3\n")
    assert registry.get("method", "toymethod").kind == "method"


def test_two_plugins_of_one_name_are_told_apart_by_their_distributions(install: Install) -> None:
    install("one-dist", GOOD.format(name="toymethod"))
    registry = install("two_Dist", GOOD.format(name="toymethod"))
    reason = (
        "method toymethod is offered by one-dist:toy and by two_Dist:toy; "
        "give method=one-dist:toymethod or method=two_Dist:toymethod"
    )
    assert reasons(registry, "one-dist") == reasons(registry, "two_Dist") == [reason]
    with pytest.raises(PluginError, match="give one-dist:toymethod or two_Dist:toymethod"):
        registry.get("method", "toymethod")
    assert not registry.has("method", "toymethod")
    assert {"one-dist:toymethod", "two_Dist:toymethod"} <= set(registry.names("method"))
    for name in ("one-dist:toymethod", "One_Dist:toymethod", "TWO-dist:toymethod"):
        assert registry.get("method", name).name == "toymethod"
    with pytest.raises(PluginError, match="unknown method 'three-dist:toymethod'"):
        registry.get("method", "three-dist:toymethod")
    assert registry.get("method", "ardistill:dd2") is registry.get("method", "dd2"), (
        "others are not concerned"
    )


def test_a_methods_own_student_is_meant_where_its_name_is_offered_twice(install: Install) -> None:
    student = GOOD.replace("import MethodOffer", "import StudentOffer, MethodOffer") + (
        '@hookimpl\ndef ardistill_students():\n    yield StudentOffer("toystudent", "a toy", "toy_nowhere:Toy")\n'
    )
    registry = install("one-dist", student.format(name="first"))
    assert registry.name_beside("student", "toystudent", ("method", "first")) == "toystudent"
    registry = install("two-dist", student.format(name="second"))
    assert registry.name_beside("student", "toystudent", ("method", "first")) == "one-dist:toystudent"
    assert registry.name_beside("student", "toystudent", ("method", "second")) == "two-dist:toystudent"


def test_one_distribution_offers_a_name_once(install: Install) -> None:
    again = '    yield MethodOffer("toymethod", "again", "toy_nowhere:Toy")\n'
    registry = install("one-dist", GOOD.format(name="toymethod") + again)
    for name in ("toymethod", "one-dist:toymethod"):
        with pytest.raises(PluginError, match="one distribution may offer a name once"):
            registry.get("method", name)


def test_plugins_are_chosen_by_the_environment(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that is left out is not even imported."""
    install("one-dist", GOOD.format(name="one"))
    install("bad-dist", "raise RuntimeError('imported')", entry="bad")

    def chosen(words: str) -> Registry:
        monkeypatch.setenv("ARDISTILL_PLUGINS", words)
        return discover()

    assert reasons(chosen(""), "bad-dist") == ["it fails at import (RuntimeError: imported)"]
    for words in ("-bad-dist", "-Bad_Dist", "-bad-dist:bad", " -bad-dist , ", "one-dist", "one-dist:toy"):
        registry = chosen(words)
        assert reasons(registry, "bad-dist") == []
        assert [registry.has("method", name) for name in ("one", "dd2")] == [True, True], words
        assert [origin.plugin for origin in registry.left_out] == ["bad-dist:bad"]
    registry = chosen("bad-dist:other,-one-dist")
    with pytest.raises(PluginError, match="ARDISTILL_PLUGINS leaves out plugin one-dist:toy"):
        registry.get("method", "toy")
    assert [(each.origin.plugin, each.reason) for each in registry.problems] == [
        ("bad-dist:other", "ARDISTILL_PLUGINS names it, and no such plugin is installed")
    ]
    with pytest.raises(PluginError, match="ARDISTILL_PLUGINS has '-'; give distributions"):
        chosen("-")


def test_one_name_of_two_kinds_is_no_conflict(install: Install) -> None:
    both = GOOD + '@hookimpl\ndef ardistill_teachers():\n    return [TeacherOffer("{name}", "", "a:b")]\n'
    registry = install("both-dist", both.format(name="toymethod"))
    assert (registry.get("method", "toymethod").kind, registry.get("teacher", "toymethod").kind) == (
        "method",
        "teacher",
    )


def test_entry_points_that_are_no_modules(install: Install) -> None:
    registry = install(
        "odd-dist", "x = 3", entry_points="a = plugin_of_odd_dist:x\nb = plugin_of_odd_dist:y\n"
    )
    assert reasons(registry, "odd-dist") == [
        "its entry point names 3, not a module",
        "it fails at import (AttributeError: module 'plugin_of_odd_dist' has no attribute 'y')",
    ]


def test_one_module_under_two_names_counts_once(install: Install) -> None:
    module = "plugin_of_dup_dist"
    registry = install(
        "dup-dist", GOOD.format(name="toymethod"), entry_points=f"a = {module}\nb = {module}\n"
    )
    assert reasons(registry, "dup-dist") == [f"another entry point has registered {module} already"]
    assert registry.get("method", "toymethod")


def test_a_malformed_entry_point_file_hides_its_own_distribution_only(install: Install) -> None:
    registry = install("junk-dist", "", entry_points="this is not an entry point\n")
    assert registry.get("teacher", "var")


def test_unknown_names_show_the_nearest_and_all(install: Install) -> None:
    registry = install("toy-dist", GOOD.format(name="toymethod"))
    with pytest.raises(PluginError) as error:
        registry.get("method", "toymetod")
    assert str(error.value).startswith("unknown method 'toymetod'; did you mean toymethod? known: ")
    with pytest.raises(PluginError, match=r"^unknown method 'q'; known: .*toymethod"):
        registry.get("method", "q")


def test_targets_that_cannot_be_loaded_are_one_sentence(install: Install) -> None:
    registry = install("toy-dist", GOOD.format(name="toymethod"))
    for load in (registry.load, registry.config_class):
        with pytest.raises(PluginError) as error:
            load("method", "toymethod")
        absent = "ModuleNotFoundError: No module named 'toy_nowhere'"
        assert str(error.value) == f"method toymethod of toy-dist 1.5 cannot be loaded: {absent}"


def test_a_config_that_is_no_attrs_class(install: Install) -> None:
    source = GOOD.format(name="toymethod").replace("toy_nowhere:Config", "plugin_of_toy_dist:hookimpl")
    registry = install("toy-dist", source)
    with pytest.raises(PluginError, match="names plugin_of_toy_dist:hookimpl, which is not an attrs class"):
        registry.config_class("method", "toymethod")
