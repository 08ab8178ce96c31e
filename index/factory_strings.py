"""FAISS factory strings: checks them before FAISS sees them, takes them apart, and offers a default.

FAISS ends the process on some strings (``HNSW0``, ``RR0``), takes gigabytes for others
(``IVF1000000000,Flat``), and builds indexes from a few (``PCA``) that do not search by inner product. So only
parts that are known to work pass.
"""

import math
import re
from dataclasses import dataclass

from index.errors import InputError

# FAISS's own minimum of vectors to train a centroid on (ClusteringParameters).
_POINTS_PER_CENTROID = 39

_UNITS = {"": 1, "k": 1024, "M": 1024**2}
_KNOWN = (
    "IVFn, IVFn_HNSWm, HNSWm, Flat, FlatIPPanoraman, FlatPanoraman, SQ8, PQm, PQmxb, OPQm_d, RRd, UPCAd, "
    "UPCARd, RFlat, Refine(...)"
)
_PART = re.compile(
    r"IVF(?P<nlist>\d{1,9})(?P<unit>[kM]?)(_HNSW(?P<coarse>\d{1,9}))?"
    r"|HNSW(?P<links>\d{1,9})"
    r"|(?P<refine>Refine\((Flat|SQ(4|6|8|fp16|bf16))\)|RFlat)"
    r"|Flat|Flat(IP)?Panorama(?P<levels>\d{1,9})|SQ(4|6|8|fp16|bf16)"
    r"|PQ(?P<pq>\d{1,9})(x(?P<bits>\d{1,9}))?(np)?(?P<fast>fsr?)?"
    r"|OPQ(?P<opq>\d{1,9})(_(?P<opq_out>\d{1,9}))?"
    r"|RR(?P<rr_out>\d{1,9})"
    r"|UPCAR?(?P<upca_out>\d{1,9})"
)
_OWN = re.compile(r"UPCA(R?)(\d{1,9})")
_REFINE = re.compile(r"Refine\(.*\)|RFlat")


@dataclass(frozen=True)
class FactoryParts:
    """A factory string taken apart where it begins with a transform of our own; see `transforms`.

    Attributes:
        transform: the first part, such as ``UPCAR48``; None: FAISS builds the whole string.
        rotates: whether a random rotation follows the transform.
        width: numbers that the transform leaves of a vector.
        inner: the string between transform and refinement.
        refine: ``RFlat`` or ``Refine(...)``; None where nothing is refined.
    """

    transform: str | None
    rotates: bool
    width: int
    inner: str
    refine: str | None


def split_factory(factory: str) -> FactoryParts:
    """Take a factory string apart.

    >>> split_factory("UPCAR48,PQ48x4fs,RFlat").inner
    'PQ48x4fs'
    """
    first, *rest = factory.split(",")
    own = _OWN.fullmatch(first)
    if own is None:
        return FactoryParts(None, False, 0, factory, None)
    refine = rest.pop() if rest and _REFINE.fullmatch(rest[-1]) else None
    return FactoryParts(first, bool(own[1]), int(own[2]), ",".join(rest), refine)


def default_factory(n_items: int) -> str:
    """An IVF index with about 4 sqrt(n) lists, a power of two, and at least 39 items to train each on.

    Raises:
        InputError: if `n_items` is below 1.

    >>> default_factory(20), default_factory(3500), default_factory(1_000_000)
    ('IVF1,Flat', 'IVF64,Flat', 'IVF4096,Flat')
    """
    if n_items < 1:
        raise InputError(f"{n_items} items; expected at least 1")
    wanted = round(math.log2(4 * math.sqrt(n_items)))
    trainable = math.floor(math.log2(max(1, n_items // _POINTS_PER_CENTROID)))
    return f"IVF{2 ** min(wanted, trainable)},Flat"


def check_factory(factory: str, n_items: int, dimension: int) -> None:
    """Refuse a string that gives no right index over vectors of shape (n_items, dimension).

    Raises:
        InputError: with a string that works, if a part is unknown, centres or normalises vectors, or has a
            size that does not fit the number of items or the dimension.
    """
    working = f'"{default_factory(n_items)}" works here'
    parts = factory.split(",")
    for part in parts:
        _refuse_wrong_transform(part, dimension, working)
        match = _PART.fullmatch(part)
        if match is None:
            raise InputError(
                f"index {factory!r}: part {part!r} is unknown; expected one of {_KNOWN}", working
            )
        fields = {name: int(text) for name, text in match.groupdict().items() if text and text.isdecimal()}
        links = fields.get("links", fields.get("coarse", 32))
        out = fields.get("rr_out", fields.get("opq_out", fields.get("upca_out", dimension)))
        if "upca_out" in fields and (part != parts[0] or out > dimension or len(parts) == 1):
            raise InputError(
                f"index {factory!r}: {part!r} must come first, an index after it, and leave at most the "
                f"{dimension} numbers of a vector",
                working,
            )
        if fields.get("levels", 1) > dimension:
            raise InputError(f"index {factory!r}: a number in {part!r} is out of range", working)
        if 0 in fields.values() or not 2 <= links <= 512 or out > 4 * dimension:
            raise InputError(f"index {factory!r}: a number in {part!r} is out of range", working)
        nlist = fields.get("nlist", 1) * _UNITS[match["unit"] or ""]
        if nlist > n_items:
            raise InputError(f"index {factory!r}: {nlist} lists for {n_items} items; expected fewer", working)
        if "opq" in fields:
            _check_slices(factory, part, fields["opq"], out, 8, n_items)
        dimension = out
        if "pq" in fields:
            bits = fields.get("bits", 4 if match["fast"] else 8)
            _check_slices(factory, part, fields["pq"], dimension, bits, n_items)


def _refuse_wrong_transform(part: str, dimension: int, working: str) -> None:
    """Refuse transforms that reorder items: PCA and ITQ subtract the mean, L2norm divides by the length."""
    if part.startswith(("PCA", "ITQ", "L2norm")):
        raise InputError(
            f"{part!r} centres or normalises vectors, which changes inner products",
            f'use a rotation, "RR{dimension}", in its place, or leave it out: {working}',
        )


def _check_slices(factory: str, part: str, slices: int, dimension: int, bits: int, n_items: int) -> None:
    """Check product quantization: it cuts a vector into `slices` equal parts with 2^bits centroids each."""
    working = f'"{default_factory(n_items)}" works here'
    if dimension % slices:
        fitting = max(i for i in range(1, min(slices, dimension) + 1) if dimension % i == 0)
        raise InputError(
            f"index {factory!r}: {part!r} cuts {dimension} numbers into {slices} parts; "
            f"expected a divisor of {dimension}, such as {fitting}",
            working,
        )
    if bits >= n_items.bit_length():  # 2^bits > n_items, without computing 2^bits
        raise InputError(
            f"index {factory!r}: {part!r} trains 2^{bits} centroids a part from {n_items} items; "
            f"expected at most as many as items",
            working,
        )
