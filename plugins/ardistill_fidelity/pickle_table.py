"""Reads a pickle as a table: what it says, of objects and tensors, without making any of them.

No name in it is looked up and nothing is called; a call of anything but torch's rebuilding of tensors is an `Object` of
that name like any other. It reads the operations that TorchScript's writer uses (torch/csrc/jit/serialization/
pickler.h), and raises ValueError for others.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any

import attrs

_TENSOR = "torch._utils _rebuild_tensor_v2"


@attrs.frozen
class Name:
    """A class or function, as "module name"."""

    full: str


@attrs.frozen
class Stored:
    """A tensor: numbers of the record `key`, which has `numel` of the type `kind`, such as "torch HalfStorage"."""

    kind: str
    key: str
    numel: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@attrs.define(eq=False)
class Object:
    """Anything else that has a class."""

    cls: str
    fields: dict[Any, Any] = attrs.field(factory=dict)


def read_table(pickled: bytes) -> Any:
    """What the pickle says: plain values and containers, `Object` and `Stored`.

    Raises ValueError, IndexError, KeyError, TypeError or AttributeError for damage.
    """
    reader = _Reader()
    for opcode, argument, _ in pickletools.genops(pickled):
        operation = _OPERATIONS.get(opcode.name)
        if operation is None:
            raise ValueError(f"TorchScript writes no {opcode.name}")
        operation(reader, argument)
    return reader.stack.pop()


class _Reader:
    """A pickle is a program for a stack."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def take(self, count: int) -> list[Any]:
        values = [self.stack.pop() for _ in range(count)]
        return values[::-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def remember(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        self.stack[-1].extend(values)

    def pairs(self, values: list[Any]) -> None:
        self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def build(self) -> None:
        (state,) = self.take(1)
        if isinstance(state, Mapping):
            self.stack[-1].fields.update(state)

    def persistent(self) -> None:
        _, kind, key, _, numel = self.stack.pop()
        self.push(Stored(kind.full, str(key), int(numel), 0, (), ()))

    def call(self) -> None:
        name, arguments = self.take(2)
        if name.full != _TENSOR:
            self.push(Object(name.full))
            return
        record, offset, shape, stride, *_ = arguments
        self.push(attrs.evolve(record, offset=int(offset), shape=tuple(shape), stride=tuple(stride)))

    def new(self) -> None:
        name, _ = self.take(2)
        self.push(Object(name.full))


def _nothing(_: _Reader, __: Any) -> None: ...


def _pushing(value: Callable[[], Any]) -> Callable[[_Reader, Any], None]:
    return lambda reader, _: reader.push(value())


_ARGUMENTS = "BINUNICODE SHORT_BINUNICODE BININT BININT1 BININT2 LONG1 BINFLOAT"

_OPERATIONS: Mapping[str, Callable[[_Reader, Any], None]] = {
    "PROTO": _nothing,
    "STOP": _nothing,
    **dict.fromkeys(_ARGUMENTS.split(), _Reader.push),
    "NONE": _pushing(lambda: None),
    "NEWTRUE": _pushing(lambda: True),
    "NEWFALSE": _pushing(lambda: False),
    "EMPTY_TUPLE": _pushing(tuple),
    "EMPTY_LIST": _pushing(list),
    "EMPTY_DICT": _pushing(dict),
    "GLOBAL": lambda reader, name: reader.push(Name(name)),
    "MARK": lambda reader, _: reader.marks.append(len(reader.stack)),
    "TUPLE": lambda reader, _: reader.push(tuple(reader.since_mark())),
    "TUPLE1": lambda reader, _: reader.push(tuple(reader.take(1))),
    "TUPLE2": lambda reader, _: reader.push(tuple(reader.take(2))),
    "TUPLE3": lambda reader, _: reader.push(tuple(reader.take(3))),
    "APPEND": lambda reader, _: reader.extend(reader.take(1)),
    "APPENDS": lambda reader, _: reader.extend(reader.since_mark()),
    "SETITEM": lambda reader, _: reader.pairs(reader.take(2)),
    "SETITEMS": lambda reader, _: reader.pairs(reader.since_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Reader.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda reader, place: reader.push(reader.memo[place])),
    "BINPERSID": lambda reader, _: reader.persistent(),
    "NEWOBJ": lambda reader, _: reader.new(),
    "REDUCE": lambda reader, _: reader.call(),
    "BUILD": lambda reader, _: reader.build(),
}
