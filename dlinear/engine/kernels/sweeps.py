"""Scans over layers for a width n, as LLVM IR.

States P and the transposed costates Q = ((W_t^T)^T R)^T follow P' = P + D P and Q' = Q + Q D, and
g_T(t)^T = P_t Q_{t+1}: no product needs a column of a factor that lies by rows.

A scan takes its layers in blocks, each from a value that is known before, as `products.Chunk` does.
"""

from __future__ import annotations

from dlinear.engine.kernels.ir import Code, Part
from dlinear.engine.kernels.matrices import Left, Row, Sums, Use, Writer

SCAN = [("ptr", "layers"), ("i64", "count"), ("i64", "length"), ("i64", "blocks")]


def fold(w: Writer, summed: bool) -> Code:
    """Deviations X of the products of blocks of `length` layers: X' = X + D + D X.

    `summed`: also the sum of X_1, ..., X_l of each block, and the sum of ||X_2||^2, ..., ||X_l||^2.
    """
    more = [("ptr", "sums"), ("ptr", "squares")] if summed else []
    code = Code("summed_fold" if summed else "fold", [*SCAN, ("ptr", "out"), *more])
    one, two = code.local(w.size), code.local(w.size)
    square = Sums(w, code, stacked=True) if summed else None
    with code.loop("%blocks") as (b, _, _):
        start = code.mul(b, "%length")
        first = w.layer(code, "%layers", start)
        w.copy(code, first, one)
        sums = w.layer(code, "%sums", b) if summed else ""
        if square is not None:
            w.copy(code, first, sums)
            square.clear()
        here = code.least(code.let(f"sub i64 %count, {start}"), "%length")
        with code.loop(code.add(here, -1), ("ptr", one), ("ptr", two)) as (j, (now, then), ahead):
            d = w.layer(code, "%layers", code.add(code.add(start, j), 1))
            use = w.into(code, then) if square is None else _summing(w, code, then, sums, square)
            w.product(code, Left(d), now, use, w.begin(code, now, d))
            ahead += [then, now]
        w.copy(code, now, w.layer(code, "%out", b))
        if square is not None:
            code.do(f"store double {square.total()}, ptr {code.at('%squares', b)}")
    return code


def _summing(w: Writer, code: Code, target: str, sums: str, square: Sums) -> Use:
    """Write the rows of a product, add them to a matrix, and their squares to a sum."""

    def use(i: Row, part: Part, value: str) -> None:
        code.store(part, w.row(code, target, i), value)
        place = w.row(code, sums, i)
        code.store(part, place, code.plus(part, code.load(part, place), value))
        square.add(part, value, value)

    return use


def forward(w: Writer, affine: bool) -> Code:
    """X(t + 1) = X(t) + D(t) X(t), plus D(t) when `affine`.

    X is in place at the first layer of each block; the last block goes on to X at the end.
    """
    name = "prefixes" if affine else "states"
    code = Code(name, [*SCAN, ("ptr", "out")])
    with code.loop("%blocks") as (b, _, _):
        start = code.mul(b, "%length")
        left = code.let(f"sub i64 %count, {start}")
        last = code.let(f"icmp sle i64 {left}, %length")
        steps = code.let(f"select i1 {last}, i64 {left}, i64 {code.add('%length', -1)}")
        with code.loop(steps) as (j, _, _):
            t = code.add(start, j)
            d, now = w.layer(code, "%layers", t), w.layer(code, "%out", t)
            begin = w.begin(code, now, d) if affine else w.begin(code, now)
            w.product(code, Left(d), now, w.into(code, code.at(now, w.size)), begin)
    return code


def backward(w: Writer, affine: bool) -> Code:
    """Y(t) = Y(t + 1) + Y(t + 1) D(t), plus D(t) when `affine`.

    Y is in place after the last layer of each block; the first block goes on to Y(0).
    """
    name = "suffixes" if affine else "costates"
    code = Code(name, [*SCAN, ("ptr", "out")])
    with code.loop("%blocks") as (b, _, _):
        start = code.mul(b, "%length")
        stop = code.least(code.add(start, "%length"), "%count")
        first = code.let(f"icmp eq i64 {b}, 0")
        keep = code.let(f"select i1 {first}, i64 0, i64 1")  # the value at `start` is another block's
        steps = code.let(f"sub i64 {code.let(f'sub i64 {stop}, {start}')}, {keep}")
        with code.loop(steps) as (j, _, _):
            t = code.let(f"sub i64 {code.add(stop, -1)}, {j}")
            d, then = w.layer(code, "%layers", t), w.layer(code, "%out", t)
            now = code.at(then, w.size)
            begin = w.begin(code, now, d) if affine else w.begin(code, now)
            w.product(code, Left(now), d, w.into(code, then), begin)
    return code


def gradients(w: Writer, kept: bool) -> Code:
    """||g_T(t)||^2 from P at the first and Q after the last layer of each block.

    Sums over blocks, and P_t of one block at a time; or, `kept`, of each layer, with all P_t and g_T(t)^T.
    """
    arguments = [*SCAN, ("ptr", "before"), ("ptr", "after"), ("ptr", "states"), ("ptr", "norms")]
    code = Code("kept_gradients" if kept else "gradients", arguments + [("ptr", "out")] * kept)
    q, other = code.local(w.size), code.local(w.size)
    norm = Sums(w, code, stacked=not kept)
    with code.loop("%blocks") as (b, _, _):
        start = code.mul(b, "%length")
        here = code.least(code.let(f"sub i64 %count, {start}"), "%length")
        states = w.layer(code, "%states", start) if kept else "%states"
        layers = w.layer(code, "%layers", start)
        w.copy(code, w.layer(code, "%before", b), states)
        with code.loop(code.add(here, -1)) as (j, _, _):
            now, d = w.layer(code, states, j), w.layer(code, layers, j)
            w.product(code, Left(d), now, w.into(code, code.at(now, w.size)), w.begin(code, now))
        w.copy(code, w.layer(code, "%after", b), q)
        norm.clear()
        with code.loop(here, ("ptr", q), ("ptr", other)) as (i, (now, then), ahead):
            j = code.let(f"sub i64 {code.add(here, -1)}, {i}")
            t = code.add(start, j)
            w.prefetch(code, w.layer(code, layers, code.add(here, i)))  # of the next block
            if kept:
                norm.clear()

            def square(row: Row, part: Part, value: str) -> None:
                norm.add(part, value, value)
                if kept:
                    code.store(part, w.row(code, out, row), value)

            out = w.layer(code, "%out", t) if kept else ""
            w.product(code, Left(w.layer(code, states, j)), now, square)
            if kept:
                code.do(f"store double {norm.total()}, ptr {code.at('%norms', t)}")
            d = w.layer(code, layers, j)
            w.product(code, Left(now), d, w.into(code, then), w.begin(code, now))
            ahead += [then, now]
        if not kept:
            code.do(f"store double {norm.total()}, ptr {code.at('%norms', b)}")
    return code
