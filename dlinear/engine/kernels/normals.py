"""Standard normals of `networks.philox` as LLVM IR: the same integers, and Box-Muller to rounding.

The integers are those of Philox4x64-10, word by word: processors multiply 64-bit words to 128 bits, vectors
do not. What follows works on vectors of pairs (u, v): with a = 2 pi (v - 1/2),

    r cos a,  r sin a,     r = sqrt(-2 ln(1 - u)).

1 - u is exact. ln: 2^k m with m in [sqrt(1/2), sqrt(2)), s = f/(2 + f), f = m - 1, and a polynomial in s^2
(as in fdlibm). Sine and cosine: v - 1/2 = q/4 + x/(2 pi) with |x| <= pi/4, exact up to the product by 2 pi,
and polynomials in x^2.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from dlinear.engine.kernels.ir import Code, Part

TILE = 8  # counters whose integers are made together
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)  # Salmon et al., SC 2011
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_MAGIC = 1.5 * 2.0**52  # x + magic holds round(x) in its low bits
_ROOT_HALF = 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
# ln m = f - (f^2/2 - s (f^2/2 + L(s^2))), L from its highest term down
_LOG = (
    1.479819860511658591e-01,
    1.531383769920937332e-01,
    1.818357216161805012e-01,
    2.222219843214978396e-01,
    2.857142874366239149e-01,
    3.999999999940941908e-01,
    6.666666666666735130e-01,
)
_LN2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)  # k times the first is exact
_SIN = (
    1.58969099521155010221e-10,
    -2.50507602534068634195e-08,
    2.75573137070700676789e-06,
    -1.98412698298579493134e-04,
    8.33333333332248946124e-03,
    -1.66666666666666324348e-01,
)
_COS = (
    -1.13596475577881948265e-11,
    2.08757232129817482790e-09,
    -2.75573143513906633035e-07,
    2.48015872894767294178e-05,
    -1.38888888888741095749e-03,
    4.16666666666666019037e-02,
)


class _Vectors:
    """Arithmetic on vectors of one length."""

    def __init__(self, code: Code, lanes: int) -> None:
        self.code, self.part = code, Part(0, lanes, lanes)
        self.kind, self.ints = f"<{lanes} x double>", f"<{lanes} x i64>"

    def number(self, value: float) -> str:
        """A constant in every lane."""
        (bits,) = struct.unpack("<Q", struct.pack("<d", value))
        return f"splat (double 0x{bits:016X})"

    def op(self, name: str, a: str, b: str) -> str:
        """A binary operation of float64."""
        return self.code.let(f"{name} {self.kind} {a}, {b}")

    def whole(self, name: str, a: str, b: int | str) -> str:
        """A binary operation of integers."""
        return self.code.let(f"{name} {self.ints} {a}, {f'splat (i64 {b})' if isinstance(b, int) else b}")

    def bits(self, a: str) -> str:
        """The bits of float64 numbers."""
        return self.code.let(f"bitcast {self.kind} {a} to {self.ints}")

    def real(self, a: str) -> str:
        """The numbers that have these bits."""
        return self.code.let(f"bitcast {self.ints} {a} to {self.kind}")

    def polynomial(self, x: str, coefficients: Sequence[float]) -> str:
        """From the highest term down, by Horner's rule."""
        value = self.number(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.code.fma(self.part, value, x, self.number(coefficient))
        return value


def normals(lanes: int) -> Code:
    """`quads` times four normals, scaled, from counter `first` + 1 on; `room` is for whole tiles.

    The integers are a tile ahead of the vectors, so that both kinds of units work.
    """
    arguments = [("i64", "key0"), ("i64", "key1"), ("i64", "first"), ("i64", "quads"), ("i64", "scale")]
    code = Code("normals", [*arguments, ("ptr", "room")])
    vec = _Vectors(code, lanes)
    factor = code.everywhere([vec.part], code.let("bitcast i64 %scale to double"))[0]
    keys = _round_keys(code)
    one, two = code.local(4 * TILE), code.local(4 * TILE)

    def fill(first: str | int, room: str) -> None:
        for j in range(TILE):
            counter = code.add(code.add("%first", first), 1 + j)
            u0, v0, u1, v1 = _words(code, counter, keys)
            for word, place in (
                (u0, 2 * j),
                (u1, 2 * j + 1),
                (v0, 2 * TILE + 2 * j),
                (v1, 2 * TILE + 2 * j + 1),
            ):
                code.do(f"store i64 {word}, ptr {code.at(room, place)}")

    fill(0, one)
    tiles = code.let(f"sdiv i64 {code.add('%quads', TILE - 1)}, {TILE}")
    with code.loop(tiles, ("ptr", one), ("ptr", two)) as (tile, (now, then), ahead):
        start = code.mul(tile, TILE)
        fill(code.add(start, TILE), then)
        for at in range(0, 2 * TILE, lanes):
            pairs = [
                code.let(f"load {vec.ints}, ptr {code.at(now, at + part)}, align 8") for part in (0, 2 * TILE)
            ]
            found = _box_muller(code, vec, pairs[0], pairs[1], factor)
            place = code.add(code.mul(start, 4), 2 * at)
            code.do(f"store <{2 * lanes} x double> {found}, ptr {code.at('%room', place)}, align 8")
        ahead += [then, now]
    return code


def words() -> Code:
    """The integers themselves, four for each of `quads` counters from `first` + 1 on."""
    arguments = [("i64", "key0"), ("i64", "key1"), ("i64", "first"), ("i64", "quads"), ("ptr", "room")]
    code = Code("words", arguments)
    keys = _round_keys(code)
    with code.loop("%quads") as (i, _, _):
        for place, word in enumerate(_words(code, code.add(code.add("%first", i), 1), keys)):
            code.do(f"store i64 {word}, ptr {code.at('%room', code.add(code.mul(i, 4), place))}")
    return code


def _round_keys(code: Code) -> list[tuple[str, str]]:
    """The two words of the key in each of ten rounds."""
    found = [("%key0", "%key1")]
    for _ in range(9):
        one, two = found[-1]
        found.append((code.let(f"add i64 {one}, {_WEYL[0]}"), code.let(f"add i64 {two}, {_WEYL[1]}")))
    return found


def _words(code: Code, counter: str, keys: Sequence[tuple[str, str]]) -> list[str]:
    """The four words of a counter below 2^64."""
    c = [counter, "0", "0", "0"]
    for one, two in keys:
        high0, low0 = _multiply(code, c[0], _MULTIPLIERS[0])
        high1, low1 = _multiply(code, c[2], _MULTIPLIERS[1])
        c = [_exclusive(code, high1, c[1], one), low1, _exclusive(code, high0, c[3], two), low0]
    return c


def _multiply(code: Code, x: str, multiplier: int) -> tuple[str, str]:
    """High and low word of a product."""
    wide = code.let(f"mul i128 {code.let(f'zext i64 {x} to i128')}, {multiplier}")
    high = code.let(f"trunc i128 {code.let(f'lshr i128 {wide}, 64')} to i64")
    return high, code.let(f"trunc i128 {wide} to i64")


def _exclusive(code: Code, a: str, b: str, c: str) -> str:
    return code.let(f"xor i64 {code.let(f'xor i64 {a}, {b}')}, {c}")


def _box_muller(code: Code, vec: _Vectors, u: str, v: str, factor: str) -> str:
    """Pairs of normals one after another, from the words of pairs of uniforms."""
    uniform, other = _uniform(code, vec, u), _uniform(code, vec, v)
    rest = vec.op("fsub", vec.number(1.0), uniform)
    square = vec.op("fmul", vec.number(-2.0), _log(code, vec, rest))
    lanes = vec.part.lanes
    radius = code.let(f"call {vec.kind} @llvm.sqrt.v{lanes}f64({vec.kind} {square})")
    radius = vec.op("fmul", radius, factor)
    cosine, sine = _circle(code, vec, vec.op("fsub", other, vec.number(0.5)))
    pair = [vec.op("fmul", radius, cosine), vec.op("fmul", radius, sine)]
    order = ", ".join(f"i32 {i // 2 + i % 2 * lanes}" for i in range(2 * lanes))
    return code.let(
        f"shufflevector {vec.kind} {pair[0]}, {vec.kind} {pair[1]}, <{2 * lanes} x i32> <{order}>"
    )


def _uniform(code: Code, vec: _Vectors, words: str) -> str:
    """The upper 53 bits of words as numbers in [0, 1), as numpy takes them."""
    found = code.let(f"uitofp {vec.ints} {vec.whole('lshr', words, 11)} to {vec.kind}")
    return vec.op("fmul", found, vec.number(2.0**-53))


def _log(code: Code, vec: _Vectors, x: str) -> str:
    """ln x of normal numbers."""
    bits = vec.bits(x)
    exponent = vec.whole("ashr", vec.whole("sub", bits, _ROOT_HALF), 52)
    m = vec.real(vec.whole("sub", bits, vec.whole("shl", exponent, 52)))
    magic = struct.unpack("<q", struct.pack("<d", _MAGIC))[0]
    k = vec.op("fsub", vec.real(vec.whole("add", exponent, magic)), vec.number(_MAGIC))
    f = vec.op("fsub", m, vec.number(1.0))
    s = vec.op("fdiv", f, vec.op("fadd", f, vec.number(2.0)))
    z = vec.op("fmul", s, s)
    tail = vec.op("fmul", z, vec.polynomial(z, _LOG))
    half = vec.op("fmul", vec.op("fmul", f, f), vec.number(0.5))
    small = vec.op("fmul", s, vec.op("fadd", half, tail))
    small = code.fma(vec.part, k, vec.number(_LN2[1]), small)
    small = vec.op("fsub", vec.op("fsub", half, small), f)
    return vec.op("fsub", vec.op("fmul", k, vec.number(_LN2[0])), small)


def _circle(code: Code, vec: _Vectors, turn: str) -> tuple[str, str]:
    """cos and sin of 2 pi turn, |turn| <= 1/2."""
    four = vec.op("fmul", turn, vec.number(4.0))
    shifted = vec.op("fadd", four, vec.number(_MAGIC))
    quarter = vec.bits(shifted)
    rest = vec.op("fsub", four, vec.op("fsub", shifted, vec.number(_MAGIC)))  # exact, in quarters
    x = vec.op("fmul", rest, vec.number(math.pi / 2))
    z = vec.op("fmul", x, x)
    sine = vec.op("fmul", vec.op("fmul", x, z), vec.polynomial(z, _SIN))
    sine = vec.op("fadd", x, sine)
    half = vec.op("fmul", z, vec.number(0.5))
    tail = vec.op("fmul", vec.op("fmul", z, z), vec.polynomial(z, _COS))
    one = vec.op("fsub", vec.number(1.0), half)
    lost = vec.op("fsub", vec.op("fsub", vec.number(1.0), one), half)  # what 1 - z/2 rounds away
    cosine = vec.op("fadd", one, vec.op("fadd", lost, tail))
    odd = code.let(f"trunc {vec.ints} {quarter} to <{vec.part.lanes} x i1>")
    swapped = [
        code.let(f"select <{vec.part.lanes} x i1> {odd}, {vec.kind} {a}, {vec.kind} {b}")
        for a, b in ((sine, cosine), (cosine, sine))
    ]
    signs = (vec.whole("add", quarter, 1), quarter)  # cos is negative in quarters 1 and 2, sin in 2 and 3
    found = []
    for value, sign in zip(swapped, signs, strict=True):
        sign = vec.whole("shl", vec.whole("and", sign, 2), 62)
        found.append(vec.real(vec.whole("xor", vec.bits(value), sign)))
    return found[0], found[1]
