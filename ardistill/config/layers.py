"""The layers - defaults, presets, TOML, words - that make one tree, and the sections chosen by plugin name.

A config class may offer presets as a classmethod, `presets() -> {name: {key: value}}`. A layer that says
`preset=NAME` in a section lays those values under its own and over every weaker layer; `quick = true` at the
top of a layer does so with the preset "quick" wherever there is one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import attrs
from cattrs.errors import AttributeValidationNote, ClassValidationError

from ardistill.config.families import settings_class, without_others
from ardistill.config.section import Family, Section, Sections, plain
from ardistill.config.values import converter, is_union
from ardistill.config.words import Tree, nest
from ardistill.errors import ConfigError, PluginError
from ardistill.plugins import Registry
from ardistill.wording import did_you_mean, listed, shown

_FACTORY: Any = attrs.Factory  # a class, which its stub calls a function


@attrs.frozen
class Layer:
    """Values as they were given, for one class; `quick` asks for the preset of that name."""

    values: Mapping[str, object]
    quick: bool = False


@attrs.frozen
class Chosen:
    """A section whose values are not structured yet."""

    name: str
    cls: type
    values: Tree


@attrs.frozen
class Several:
    """Sections whose values are not structured yet."""

    chosen: tuple[Chosen, ...]


def _structure_section(value: object, _: Any) -> Section:
    assert isinstance(value, Chosen)
    return Section(value.name, converter.structure(value.values, value.cls))


def _structure_sections(value: object, kind: Any) -> Sections:
    if isinstance(value, Sections):  # the field's default
        return value
    assert isinstance(value, Several)
    sections = []
    for chosen in value.chosen:
        try:
            sections.append(_structure_section(chosen, Section))
        except Exception as error:
            error.add_note(AttributeValidationNote("", chosen.name, Section))
            raise ClassValidationError("", [error], kind) from error
    return Sections(tuple(sections))


converter.register_structure_hook_func(lambda kind: kind is Section, _structure_section)
converter.register_structure_hook_func(lambda kind: kind is Sections, _structure_sections)


def compose(cls: type, layers: Sequence[Layer], registry: Registry, path: str = "") -> Tree:
    """One tree for `cls`, the last layer strongest, with a `Chosen` where the class has a `Section`.

    Names of plugins and presets are checked here; keys and values are left for the converter.
    """
    layers = [laid for layer in layers for laid in _with_preset(cls, layer, path)]
    tree: Tree = {key: value for layer in layers for key, value in layer.values.items()}
    for field in attrs.fields(attrs.resolve_types(cls)):
        inner = nested_class(field.type)
        if field.type is Section:
            tree[field.name] = _choose(field, layers, registry, f"{path}{field.name}")
        elif field.type is Sections:
            tree[field.name] = _choose_several(field, layers, registry, f"{path}{field.name}")
        elif inner is not None:
            below = _below(field, layers, chosen=_has_name(inner))
            if any(layer.values for layer in below):
                tree[field.name] = compose(inner, below, registry, f"{path}{field.name}.")
    return tree


def nested_class(kind: Any) -> type | None:
    """The attrs class of a field that holds one, or may hold one."""
    members = get_args(kind) if is_union(kind) else (kind,)
    classes: list[type] = [
        member for member in members if attrs.has(member) and member not in (Section, Sections)
    ]
    return classes[0] if len(classes) == 1 else None


def presets_of(cls: type) -> Mapping[str, Mapping[str, object]]:
    offered = getattr(cls, "presets", None)
    presets: Mapping[str, Mapping[str, object]] = offered() if callable(offered) else {}
    return presets


def _with_preset(cls: type, layer: Layer, path: str) -> Iterator[Layer]:
    presets = presets_of(cls)
    name = layer.values.get("preset") or ("quick" if layer.quick and "quick" in presets else None)
    if name is None or not presets:
        yield layer
        return
    if not isinstance(name, str) or name not in presets:
        known = did_you_mean(str(name), presets) or f"; known: {listed(presets)}"
        raise ConfigError(f"unknown preset {shown(name)} in {path}preset{known}")
    recorded = any(field.name == "preset" for field in attrs.fields(cls))
    values = nest((key, plain(value)) for key, value in presets[name].items())
    yield Layer({**values, "preset": str(name)} if recorded else values)
    yield attrs.evolve(
        layer, values={key: value for key, value in layer.values.items() if key != "preset" or recorded}
    )


def _has_name(cls: type) -> bool:
    return any(field.name == "name" for field in attrs.fields(cls))


def _below(field: "attrs.Attribute[Any]", layers: Sequence[Layer], *, chosen: bool) -> list[Layer]:
    """A nested class's layers, its field's own default weakest; a value that is no mapping voids others.

    Of a class that is `chosen` by its field `name`, text is that name, and another name voids the layers before.
    """
    default = field.default
    if isinstance(default, _FACTORY):
        default = default.factory()
    below = [Layer(plain(default))] if attrs.has(type(default)) else []
    name = below[0].values.get("name") if below else None
    for layer in layers:
        value = layer.values.get(field.name, {})
        if chosen and isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            below = []
            continue
        if chosen and value.get("name", name) != name:
            below, name = [], value["name"]
        below.append(Layer(value, layer.quick))
    return below


def _choose(field: "attrs.Attribute[Any]", layers: Sequence[Layer], registry: Registry, key: str) -> Chosen:
    """The strongest layer's name; of the layers that chose another, only their `quick` is left."""
    kind, name = field.metadata["kind"], None
    below: list[Layer] = []
    for layer in layers:
        value = layer.values.get(field.name, {})
        values = value if isinstance(value, Mapping) else {"name": value}
        chosen = values.get("name", name)
        if not isinstance(chosen, str | None):
            raise ConfigError(f"{key} must be the name of a {kind}, not {shown(chosen)}")
        if name is not None and chosen != name:
            below = [Layer({}, old.quick) for old in below]
        name = chosen
        below.append(Layer({k: v for k, v in values.items() if k != "name"}, layer.quick))
    name = field.metadata["default"] if name is None else name
    if not name:
        raise ConfigError(f"{key} is missing; write {key}=NAME, known: {listed(registry.known(kind))}")
    return _chosen(kind, str(name), below, registry, key, field.metadata["family"])


def _chosen(
    kind: str, name: str, below: Sequence[Layer], registry: Registry, key: str, family: Family | None = None
) -> Chosen:
    cls = settings_class(kind, name, family, registry)
    if any(own.name == "name" for own in attrs.fields(cls)):
        raise PluginError(f"{kind} {name} has a setting called name, which stands for the plugin itself")
    tree = compose(cls, below, registry, f"{key}.")
    if family is not None:
        tree = without_others(tree, cls, family, key, name, registry)
    return Chosen(name, cls, tree)


def _choose_several(
    field: "attrs.Attribute[Any]", layers: Sequence[Layer], registry: Registry, key: str
) -> Several:
    """Those that the strongest list names, and those that have settings beside or above it."""
    below: dict[str, list[Layer]] = {}
    for layer in layers:
        value = layer.values.get(field.name, {})
        values = value if isinstance(value, Mapping) else {"name": value}
        if "name" in values:
            names = _names(values["name"], key)
            below = {name: [*below.get(name, []), Layer({}, layer.quick)] for name in names}
        for name, settings in values.items():
            if name != "name":
                if not isinstance(settings, Mapping):
                    raise ConfigError(f"{key}.{name} must be a section of settings, not {shown(settings)}")
                below.setdefault(name, []).append(Layer(settings, layer.quick))
    kind = field.metadata["kind"]
    return Several(
        tuple(_chosen(kind, name, each, registry, f"{key}.{name}") for name, each in below.items())
    )


def _names(value: object, key: str) -> list[str]:
    """Names between commas, or a list of them."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{key} must be names of plugins, not {shown(value)}")
    told = [str(name).strip() for name in names]
    return list(dict.fromkeys(name for name in told if name))
