"""Products of n x n matrices as LLVM IR: every row is a sum of rows, each times one number.

    (A B)[i, :] = sum_k A[i, k] B[k, :]

The numbers A[i, k] are read one by one, from A or from A^T, the rows B[k, :] as vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dlinear.engine.kernels.ir import Code, Part, parts

_STRAIGHT = 6  # widths up to this one are written without loops
_VECTORS = 4  # of a row that are computed together, at most
_SLOTS = 4  # sums of each width that a straight piece of code keeps apart, so that they do not wait

Row = str | int
Use = Callable[[Row, Part, str], None]  # (row, part of it, value): what becomes of the rows of a product
First = Callable[[Row, Part], str]  # what a row begins with


@dataclass(frozen=True)
class Left:
    """The factor whose entries are read one by one: the matrix at an address, or its transpose."""

    base: str
    transposed: bool = False


class Writer:
    """Writes products of n x n matrices for vectors of `lanes` numbers and a number of registers."""

    def __init__(self, n: int, lanes: int, registers: int) -> None:
        self.n, self.size = n, n * n
        self.parts = parts(n, lanes)
        self.registers = registers

    def product(self, code: Code, left: Left, right: str, use: Use, first: First | None = None) -> None:
        """Rows of first + A B, each handed to `use`; `first` gives what a row begins with (zero)."""
        for some in [self.parts[at : at + _VECTORS] for at in range(0, len(self.parts), _VECTORS)]:
            height = max(1, (self.registers - 3) // len(some) - 1)  # rows whose sums fit into the registers
            if self.n <= _STRAIGHT:
                for i in range(0, self.n, height):
                    here = range(i, min(i + height, self.n))
                    self._finish(here, some, self._straight(code, left, right, first, here, some), use)
                continue
            height = next((h for h in range(height, height // 2, -1) if self.n % h == 0), min(height, self.n))
            whole = self.n // height
            with code.loop(whole) as (tile, _, _):
                at = code.mul(tile, height)
                rows = [code.add(at, j) for j in range(height)]
                self._finish(rows, some, self._rolled(code, left, right, first, rows, some), use)
            if rest := range(whole * height, self.n):
                self._finish(rest, some, self._rolled(code, left, right, first, rest, some), use)

    def _finish(self, rows: Sequence[Row], some: Sequence[Part], sums: Sequence[str], use: Use) -> None:
        for at, value in enumerate(sums):
            use(rows[at // len(some)], some[at % len(some)], value)

    def _straight(
        self, code: Code, left: Left, right: str, first: First | None, rows: Sequence[Row], some: list[Part]
    ) -> list[str]:
        """The sums of some rows, row by row, without a loop over k."""
        sums = [first(i, part) if first else "zeroinitializer" for i in rows for part in some]
        for k in range(self.n):
            sums = self._term(code, left, self.row(code, right, k), k, rows, some, sums)
        return sums

    def _rolled(
        self, code: Code, left: Left, right: str, first: First | None, rows: Sequence[Row], some: list[Part]
    ) -> list[str]:
        """The same, with a loop over k."""
        kinds = [part.type for _ in rows for part in some]
        begin = [first(i, part) if first else "zeroinitializer" for i in rows for part in some]
        with code.loop(self.n, *zip(kinds, begin, strict=True)) as (k, sums, ahead):
            ahead += self._term(code, left, self.row(code, right, k), k, rows, some, sums)
        return sums

    def _term(
        self, code: Code, left: Left, row: str, k: Row, rows: Sequence[Row], some: list[Part], sums: list[str]
    ) -> list[str]:
        """The sums with A[i, k] B[k, :] added; `row` is the address of B[k, :]."""
        vectors = [code.load(part, row) for part in some]
        factors = [f for i in rows for f in code.everywhere(some, self._entry(code, left, i, k))]
        pairs = zip(factors, sums, strict=True)
        return [
            code.fma(some[at % len(some)], factor, vectors[at % len(some)], value)
            for at, (factor, value) in enumerate(pairs)
        ]

    def _entry(self, code: Code, left: Left, i: Row, k: Row) -> str:
        row, column = (k, i) if left.transposed else (i, k)
        return code.let(f"load double, ptr {code.at(self.row(code, left.base, row), column)}, align 8")

    def row(self, code: Code, base: str, i: Row) -> str:
        """The address of row i."""
        return code.at(base, i * self.n if isinstance(i, int) else code.mul(i, self.n))

    def begin(self, code: Code, *bases: str) -> First:
        """Rows of a sum of matrices, to begin a product with."""

        def first(i: Row, part: Part) -> str:
            value = code.load(part, self.row(code, bases[0], i))
            for base in bases[1:]:
                value = code.plus(part, value, code.load(part, self.row(code, base, i)))
            return value

        return first

    def into(self, code: Code, base: str) -> Use:
        """Write the rows of a product."""

        def use(i: Row, part: Part, value: str) -> None:
            code.store(part, self.row(code, base, i), value)

        return use

    def copy(self, code: Code, source: str, target: str) -> None:
        """Copy a matrix."""
        with code.loop(self.size) as (i, _, _):
            value = code.let(f"load double, ptr {code.at(source, i)}")
            code.do(f"store double {value}, ptr {code.at(target, i)}")

    def prefetch(self, code: Code, base: str) -> None:
        """Ask for a matrix that is needed soon; past the end of an array nothing happens."""
        with code.loop(-(-self.size // 64)) as (line, _, _):
            for place in range(0, 64, 8):  # 64 bytes
                where = code.at(base, code.add(code.mul(line, 64), place))
                code.do(f"call void @llvm.prefetch.p0(ptr {where}, i32 0, i32 2, i32 1)")

    def layer(self, code: Code, base: str, t: Row) -> str:
        """The address of matrix t."""
        return code.at(base, code.mul(t, self.size))


class Sums:
    """Sums over the rows of a product, in a few vectors of each width, so that none waits for another.

    They are values in straight code; on the stack where loops run over tiles, or where sums go on over
    several products (`stacked`).
    """

    def __init__(self, writer: Writer, code: Code, stacked: bool = False) -> None:
        self._code, self._turn = code, 0
        slots = [(part, turn) for part in writer.parts for turn in range(_SLOTS)]
        self._values = dict.fromkeys(slots, "zeroinitializer")
        straight = writer.n <= _STRAIGHT and not stacked
        self._room = {} if straight else {slot: code.local(slot[0].lanes) for slot in slots}

    def clear(self) -> None:
        """Begin at zero."""
        self._values = dict.fromkeys(self._values, "zeroinitializer")
        for (part, _), room in self._room.items():
            self._code.do(f"store {part.type} zeroinitializer, ptr {room}, align 64")

    def add(self, part: Part, a: str, b: str) -> None:
        """Add the products of two vectors."""
        self._turn = (self._turn + 1) % _SLOTS
        slot = (part, self._turn)
        self._put(slot, self._code.fma(part, a, b, self._get(slot)))

    def total(self) -> str:
        """The sum of all."""
        code, by_width = self._code, dict[int, tuple[Part, str]]()
        for slot in self._values:
            part, value = slot[0], self._get(slot)
            if part.lanes in by_width:
                value = code.plus(part, by_width[part.lanes][1], value)
            by_width[part.lanes] = (part, value)
        numbers = [code.total(part, value) for part, value in by_width.values()]
        whole = numbers[0]
        for number in numbers[1:]:
            whole = code.let(f"fadd double {whole}, {number}")
        return whole

    def _get(self, slot: tuple[Part, int]) -> str:
        if not self._room:
            return self._values[slot]
        return self._code.let(f"load {slot[0].type}, ptr {self._room[slot]}, align 64")

    def _put(self, slot: tuple[Part, int], value: str) -> None:
        if not self._room:
            self._values[slot] = value
        else:
            self._code.do(f"store {slot[0].type} {value}, ptr {self._room[slot]}, align 64")
