"""Which rows compare: a letter for each protocol, and a protocol in one line. Free of torch."""

from collections.abc import Iterable

from ardistill.evaluation.protocol import Protocol

LABELS = {"balanced": "classes in turn", "random": "classes drawn uniformly"}
CAPTION = "A letter says by which protocol FID, IS, P and R were measured; other letters do not compare."


def letters(protocols: Iterable[str]) -> dict[str, str]:
    """A letter for each, in order of appearance; "" for one that all share.

    >>> letters(["x", "y", "x"]), letters(["x", "x"])
    ({'x': 'a', 'y': 'b'}, {'x': ''})
    """
    known = list(dict.fromkeys(protocols))
    return {key: "" if len(known) == 1 else _letter(index) for index, key in enumerate(known)}


def _letter(index: int) -> str:
    """a, b, ... z, aa, ab, ...

    >>> _letter(0), _letter(27)
    ('a', 'ab')
    """
    rest, own = divmod(index, 26)
    return (_letter(rest - 1) if rest else "") + chr(ord("a") + own)


def name_of(protocol: Protocol) -> str:
    """The preset, and which of its words were said otherwise: "adm but for n, features"."""
    preset, _, otherwise = protocol.name.partition(", but ")
    return f"{preset} but for {otherwise}" if otherwise else preset


def spelled(protocol: Protocol) -> str:
    """The protocol in one line; its key at the end stands for what has no room: hashes and KID's subsets."""
    real = [] if protocol.reference_n is None else [f"{protocol.reference_n:,} images"]
    if protocol.reference_images not in {None, protocol.reference_n}:
        real.append(f"P and R against {protocol.reference_images:,} of its images")
    guidance = [f"{name.replace('_', '-')} {value}" for name, value in protocol.guidance.items()]
    parts = [
        f"{protocol.n:,} images",
        LABELS[protocol.labels],
        f"reference: {protocol.reference}" + (f" ({', '.join(real)})" if real else ""),
        *([f"held out: {protocol.held_out}"] if protocol.held_out else []),
        f"features: {protocol.features}",
        f"resize: {protocol.resize}",
        f"guidance: {' '.join(guidance) or 'none'}",
        f"decoder in {protocol.decoder}",
    ]
    return f"{', '.join(parts)} (measured; protocol {name_of(protocol)}; key {protocol.key})"
