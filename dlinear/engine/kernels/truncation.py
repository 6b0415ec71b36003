"""What a horizon misses, for a width n, as LLVM IR: signals Y_s, Z_s = U_s^T Y_s, and sums over delta.

Of `single_horizon.signals` and `single_horizon.streaming`:

    Y = (E - E^T) + E^T K + E B      near the identity: B = P - I, K = (2I - Phi) + (P_T - I)
    Y = E P + E^T R                  else
    Y = E^T R                        anchored
    -delta(t)^T = P_t (Z_s^T L_t)
"""

from __future__ import annotations

from typing import Literal

from dlinear.engine.kernels.ir import Code, Part
from dlinear.engine.kernels.matrices import First, Left, Row, Sums, Writer
from dlinear.engine.kernels.sweeps import SCAN

Case = Literal["near", "plain", "anchored"]


def signals(w: Writer, case: Case, turned: bool) -> Code:
    """Y_s, or with `turned` Z_s = U_s^T Y_s, at s = 0..count-1 of a chunk.

    `tails` has E after the last layer of each block, `before` B or P at the first, `starts` U at the first;
    `room` is for length + 1 matrices.
    """
    name = f"{case}_turned" if turned else case
    arguments = [
        *SCAN,
        ("ptr", "tails"),
        ("ptr", "before"),
        ("ptr", "constant"),
        ("ptr", "room"),
        ("ptr", "out"),
    ]
    code = Code(name, arguments + [("ptr", "starts")] * turned)
    y, *pairs = (code.local(w.size) for _ in range(5))
    with code.loop("%blocks") as (b, _, _):
        start = code.mul(b, "%length")
        here = code.least(code.let(f"sub i64 %count, {start}"), "%length")
        layers = w.layer(code, "%layers", start)
        w.copy(code, w.layer(code, "%tails", b), w.layer(code, "%room", here))
        with code.loop(here) as (i, _, _):  # E' = E + D + E D
            j = code.let(f"sub i64 {code.add(here, -1)}, {i}")
            d, then = w.layer(code, layers, j), w.layer(code, "%room", j)
            now = code.at(then, w.size)
            w.product(code, Left(now), d, w.into(code, then), w.begin(code, now, d))
        w.copy(code, w.layer(code, "%before", b), pairs[0])
        if turned:
            w.copy(code, w.layer(code, "%starts", b), pairs[2])
        carried = [("ptr", room) for room in pairs]
        with code.loop(here, *carried) as (j, (p, p_then, u, u_then), ahead):
            e, d, place = (
                w.layer(code, base, k)
                for base, k in (("%room", j), (layers, j), ("%out", code.add(start, j)))
            )
            _signal(w, code, case, e, p, y if turned else place)
            if turned:
                w.product(code, Left(u, True), y, w.into(code, place))
                w.product(code, Left(d), u, w.into(code, u_then), w.begin(code, u))
            if case != "anchored":
                first = w.begin(code, p, d) if case == "near" else w.begin(code, p)
                w.product(code, Left(d), p, w.into(code, p_then), first)
            ahead += [p_then, p, u_then, u]
    return code


def _signal(w: Writer, code: Code, case: Case, e: str, p: str, y: str) -> None:
    """Y of one s from E and P (or B), added in the order of size."""
    difference = _difference(w, code, e) if case == "near" else None
    w.product(code, Left(e, True), "%constant", w.into(code, y), difference)
    if case != "anchored":
        w.product(code, Left(e), p, w.into(code, y), w.begin(code, y))


def _difference(w: Writer, code: Code, e: str) -> First:
    """The rows of E - E^T."""

    def first(i: Row, part: Part) -> str:
        column = "poison" if part.used == part.lanes else "zeroinitializer"
        for lane in range(part.used):
            number = code.let(f"load double, ptr {code.at(w.row(code, e, part.at + lane), i)}, align 8")
            column = code.let(f"insertelement {part.type} {column}, double {number}, i64 {lane}")
        return code.let(f"fsub {part.type} {code.load(part, w.row(code, e, i))}, {column}")

    return first


def deltas(w: Writer) -> Code:
    """<-delta, g_T> and ||delta||^2 of several horizons, over tiles of `length` layers: (tiles, horizons, 2).

    From P_t, L_t and g_T(t)^T of `count` layers, and for each horizon the address of its Z_s and how many
    layers it misses: a tile is used for all horizons while it is in cache.
    """
    arguments = [
        ("i64", "count"),
        ("i64", "length"),
        ("i64", "horizons"),
        ("ptr", "missed"),
        ("ptr", "signals"),
    ]
    arguments += [("ptr", "states"), ("ptr", "left"), ("ptr", "gradients"), ("ptr", "out")]
    code = Code("deltas", arguments)
    inner = code.local(w.size)
    cross, square = Sums(w, code, stacked=True), Sums(w, code, stacked=True)
    tiles = code.let(f"sdiv i64 {code.add(code.add('%count', '%length'), -1)}, %length")
    with code.loop(tiles) as (b, _, _), code.loop("%horizons") as (m, _, _):
        start = code.mul(b, "%length")
        missed = code.let(f"load i64, ptr {code.at('%missed', m)}")
        here = code.least(code.let(f"sub i64 {missed}, {start}"), "%length")
        address = code.let(f"load ptr, ptr {code.at('%signals', m)}")
        cross.clear()
        square.clear()
        with code.loop(here) as (j, _, _):
            t = code.add(start, j)
            p, left, g = (w.layer(code, f"%{word}", t) for word in ("states", "left", "gradients"))
            w.product(code, Left(w.layer(code, address, t), True), left, w.into(code, inner))  # Z^T L

            def use(i: Row, part: Part, value: str) -> None:
                cross.add(part, value, code.load(part, w.row(code, g, i)))
                square.add(part, value, value)

            w.product(code, Left(p), inner, use)
        place = code.mul(code.add(code.mul(b, "%horizons"), m), 2)
        code.do(f"store double {cross.total()}, ptr {code.at('%out', place)}")
        code.do(f"store double {square.total()}, ptr {code.at('%out', code.add(place, 1))}")
    return code
