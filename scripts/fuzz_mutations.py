"""Mutates documents and arrays so that they stay nearly right, which random bytes almost never are."""

import ast
import json
import random
from collections.abc import Iterator
from typing import Any

_DEEP = 100_000
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, -2.5, 255, 65_536, 2**31, 2**40, 2**63, -(2**64), 10**30, 1e308),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "0", "\0", "\n", "\ud800", "a" * 5_000, "Flat"),
    *("IVF999999999,Flat", "PQ7", "../../current", [], {}, [[]], [None], {"": None}, [0] * 300),
)
_TYPES = (
    *("<f4", "<f8", "<f2", "<i8", "<i4", "<u8", ">f4"),
    *(">i8", "|b1", "|O", "<U5", "<U0", "<U999999999", "|S8"),
    *("|V8", "<c8", "<M8[s]", "|V0", "", "x", 5, [("a", "<f4")], [("a", "<f4", (2**31,))], None),
)
_SHAPES = (
    *((), (0,), (1,), (2,), (150,), (151,), (120, 5), (5, 120), (1, 120, 5), (0, 5), (120, 0), (2**40,)),
    *((2**62, 4), (2**63,), (0, 2**63), (-1,), (-1, -600), (True,), ("x",), (1.5,), [600], 600, None),
)


def mutated_json(data: bytes, seed: int) -> bytes:
    """Change a few places of a document: other types, huge and odd values, keys dropped and doubled."""
    rng = random.Random(seed)
    try:
        document = json.loads(data)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            document = _mutated(document, rng)
        text = json.dumps(document)
    except (ValueError, ArithmeticError, RecursionError):  # not a document, or one that grew too deep
        return data
    if rng.random() < 0.05 and text.startswith('{"'):
        key = text[1 : text.find('"', 2) + 1]  # twice the same key
        text = f"{{{key}: {json.dumps(rng.choice(_ODD))}, {text[1:]}"
    if rng.random() < 0.01:
        text = text.replace(":", ": " + "[" * _DEEP, 1)
    return text.encode()


def mutated_array(data: bytes, seed: int) -> bytes:
    """Give an .npy file another header: types, shapes and lengths that are wrong, senseless or huge."""
    rng = random.Random(seed)
    kind = rng.randrange(8)
    if kind < 5:
        length = int.from_bytes(data[8:10], "little")
        try:
            header = ast.literal_eval(data[10 : 10 + length].decode("latin-1").strip())
        except (ValueError, SyntaxError):
            return data
        body = data[10 + length :]
        key = rng.choice(("descr", "shape", "shape", "fortran_order"))
        header[key] = rng.choice(_TYPES if key == "descr" else _SHAPES if key == "shape" else _ODD[:8])
        if rng.random() < 0.1:
            del header[rng.choice(list(header))]
        if rng.random() < 0.5:
            body = (body * 2)[: 4 * rng.choice((0, 1, 2, 8, 9, 150, 151, 1200))]
        text = repr(header).encode("latin-1", "backslashreplace")
        return data[:8] + len(text).to_bytes(2, "little") + text + body
    changed = bytearray(data)
    end = min(len(changed), 128) if kind < 7 else len(changed)
    for _ in range(rng.choice((1, 2, 4))):
        changed[rng.randrange(end)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(changed)


def _mutated(document: Any, rng: random.Random) -> Any:
    """The document with one place changed; the argument itself may be changed."""
    places = list(_places(document))
    if not places:
        return rng.choice(_ODD)
    holder, key = rng.choice(places)
    value = holder[key]
    kind = rng.randrange(7)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = [value]
    elif kind == 2:
        holder[key] = {"x": value}
    elif kind == 3:
        other, where = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[where]))
    elif kind == 4 and isinstance(value, (int, float)):
        holder[key] = rng.choice((-value, value + 1, value * 1e9, value * 2**40, float(value), str(value)))
    elif kind == 5:
        if isinstance(holder, list):
            holder.append(value)
        else:
            holder[str(key) + "x"] = value
    else:
        holder[key] = rng.choice(_ODD)
    return document


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(document, dict):
        keys: list[Any] = list(document)
    elif isinstance(document, list):
        keys = list(range(min(len(document), 20)))
    else:
        return
    for key in keys:
        yield document, key
        yield from _places(document[key])
