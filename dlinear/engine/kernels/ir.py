"""LLVM IR as text: values with names, loops, and rows of a matrix as vectors of the host.

A row of n numbers is cut into vectors of at most `lanes` numbers; the last one is masked where n is no sum of
powers of two, so that nothing outside of a row is read or written. There is no padding: matrices lie as in
numpy, n^2 numbers each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_INTRINSICS = """
declare <{w} x double> @llvm.fma.v{w}f64(<{w} x double>, <{w} x double>, <{w} x double>)
declare <{w} x double> @llvm.masked.load.v{w}f64.p0(ptr, i32, <{w} x i1>, <{w} x double>)
declare void @llvm.masked.store.v{w}f64.p0(<{w} x double>, ptr, i32, <{w} x i1>)
declare <{w} x double> @llvm.sqrt.v{w}f64(<{w} x double>)
declare double @llvm.vector.reduce.fadd.v{w}f64(double, <{w} x double>)
"""


@dataclass(frozen=True)
class Part:
    """A vector of a row: its first column, its lanes, and how many of them are in the row."""

    at: int
    lanes: int
    used: int

    @property
    def type(self) -> str:
        """The type of the vector."""
        return f"<{self.lanes} x double>"

    @property
    def mask(self) -> str:
        """The constant that is true in the lanes of the row."""
        return f"<{', '.join(f'i1 {str(lane < self.used).lower()}' for lane in range(self.lanes))}>"


def parts(n: int, lanes: int) -> list[Part]:
    """The vectors of a row of n numbers: whole ones, then the smallest power of two that holds the rest."""
    found = [Part(at, lanes, lanes) for at in range(0, n - n % lanes, lanes)]
    if rest := n % lanes:
        found.append(Part(n - rest, 1 << (rest - 1).bit_length(), rest))
    return found


class Code:
    """The body of one function, written line by line; every value gets a name of its own."""

    def __init__(self, name: str, arguments: Sequence[tuple[str, str]]) -> None:
        words = ", ".join(
            f"{kind} noalias %{word}" if kind == "ptr" else f"{kind} %{word}" for kind, word in arguments
        )
        self.lines = [f"define void @{name}({words}) #0 {{", "entry:"]
        self.block, self._count = "entry", 0
        self.arguments = len(arguments)

    def let(self, text: str) -> str:
        """A new value; its name."""
        self._count += 1
        self.lines.append(f"  %v{self._count} = {text}")
        return f"%v{self._count}"

    def do(self, text: str) -> None:
        """An instruction without a value."""
        self.lines.append(f"  {text}")

    def start(self, label: str) -> None:
        """A new basic block."""
        self.block = label
        self.lines.append(f"{label}:")

    def local(self, numbers: int) -> str:
        """Room for numbers on the stack."""
        name = f"%s{len(self.lines)}"
        self.lines.insert(2, f"  {name} = alloca double, i64 {numbers}, align 64")
        return name

    def at(self, base: str, index: str | int) -> str:
        """The address of number `index` after `base`."""
        return base if index == 0 else self.let(f"getelementptr double, ptr {base}, i64 {index}")

    def mul(self, a: str | int, b: str | int) -> str:
        """a b of integers."""
        return self.let(f"mul i64 {a}, {b}")

    def add(self, a: str | int, b: str | int) -> str:
        """a + b of integers."""
        return self.let(f"add i64 {a}, {b}")

    def least(self, a: str | int, b: str | int) -> str:
        """The smaller of two integers."""
        below = self.let(f"icmp slt i64 {a}, {b}")
        return self.let(f"select i1 {below}, i64 {a}, i64 {b}")

    @contextlib.contextmanager
    def loop(self, count: str | int, *carried: tuple[str, str]) -> Iterator[tuple[str, list[str], list[str]]]:
        """A loop over 0..count-1; yields the index, the carried values, and the list of their next values."""
        self._count += 1
        tag, before = f"l{self._count}", self.block
        self.do(f"br label %{tag}")
        self.start(tag)
        place = len(self.lines)
        index = f"%i{self._count}"
        names = [f"%c{self._count}_{j}" for j in range(len(carried))]
        ahead: list[str] = []
        more = self.let(f"icmp slt i64 {index}, {count}")
        self.do(f"br i1 {more}, label %{tag}b, label %{tag}x")
        self.start(f"{tag}b")
        yield index, names, ahead
        following = self.add(index, 1)
        phis = [f"  {index} = phi i64 [0, %{before}], [{following}, %{self.block}]"]
        for name, (kind, first), after in zip(names, carried, ahead, strict=True):
            phis.append(f"  {name} = phi {kind} [{first}, %{before}], [{after}, %{self.block}]")
        self.lines[place:place] = phis
        self.do(f"br label %{tag}")
        self.start(f"{tag}x")

    def load(self, part: Part, row: str) -> str:
        """A vector of the row at an address."""
        where = self.at(row, part.at)
        if part.used == part.lanes:
            return self.let(f"load {part.type}, ptr {where}, align 8")
        return self.let(
            f"call {part.type} @llvm.masked.load.v{part.lanes}f64.p0(ptr {where}, i32 8, "
            f"<{part.lanes} x i1> {part.mask}, {part.type} zeroinitializer)"
        )

    def store(self, part: Part, row: str, value: str) -> None:
        """Write a vector of the row at an address."""
        where = self.at(row, part.at)
        if part.used == part.lanes:
            self.do(f"store {part.type} {value}, ptr {where}, align 8")
        else:
            self.do(
                f"call void @llvm.masked.store.v{part.lanes}f64.p0({part.type} {value}, ptr {where}, i32 8, "
                f"<{part.lanes} x i1> {part.mask})"
            )

    def everywhere(self, some: Sequence[Part], number: str) -> list[str]:
        """A number in every lane of each part; narrow parts take the first lanes of the widest one."""
        wide = some[0]
        one = self.let(f"insertelement {wide.type} poison, double {number}, i64 0")
        whole = self.let(
            f"shufflevector {wide.type} {one}, {wide.type} poison, <{wide.lanes} x i32> zeroinitializer"
        )
        found = []
        for part in some:
            lanes = ", ".join(f"i32 {lane}" for lane in range(part.lanes))
            narrow = f"shufflevector {wide.type} {whole}, {wide.type} poison, <{part.lanes} x i32> <{lanes}>"
            found.append(whole if part.lanes == wide.lanes else self.let(narrow))
        return found

    def fma(self, part: Part, a: str, b: str, c: str) -> str:
        """a b + c, rounded once."""
        kind = part.type
        return self.let(f"call {kind} @llvm.fma.v{part.lanes}f64({kind} {a}, {kind} {b}, {kind} {c})")

    def plus(self, part: Part, a: str, b: str) -> str:
        """a + b."""
        return self.let(f"fadd {part.type} {a}, {b}")

    def total(self, part: Part, value: str) -> str:
        """The sum over the lanes."""
        return self.let(
            f"call reassoc double @llvm.vector.reduce.fadd.v{part.lanes}f64(double -0.0, {part.type} {value})"
        )

    def text(self) -> str:
        """The whole function."""
        return "\n".join([*self.lines, "  ret void", "}"])


def module(functions: Sequence[Code], lanes: int) -> str:
    """Functions with what they call, as one module."""
    declared = "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)\n"
    widths = [1 << i for i in range(lanes.bit_length())]
    declared += "".join(_INTRINSICS.format(w=w) for w in widths)
    bits = 64 * lanes
    attributes = (
        f'attributes #0 = {{ nounwind "min-legal-vector-width"="{bits}" "prefer-vector-width"="{bits}" }}'
    )
    return "\n".join([declared, *(function.text() for function in functions), attributes])
