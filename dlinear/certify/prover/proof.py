"""Writing certificates: each method adds one step and fails at once if the checker would refuse it.

Nothing here is trusted: `finish` returns plain data that `trusted.check` re-derives from scratch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from dlinear.certify.prover import multipliers
from dlinear.certify.prover.search import subdivide
from dlinear.certify.trusted import axioms
from dlinear.certify.trusted.check import FORMAT
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.kernel import Kernel
from dlinear.certify.trusted.terms import CertificateError, Tree, parse, substitute

Statement = Mapping[str, Any]


def show(tree: Tree) -> str:
    """Tree back to text."""
    match tree:
        case ("num", value):
            return f"({value})" if value < 0 or value.denominator != 1 else str(value)
        case ("sym", name):
            return str(name)
        case ("T", inner):
            return f"({show(inner)}).T"
        case ("add", a, ("mul", ("num", minus), b)) if minus == -1:
            return f"({show(a)} - {show(b)})"
        case ("add", a, b):
            return f"({show(a)} + {show(b)})"
        case ("mul", ("num", minus), b) if minus == -1:
            return f"(-{show(b)})"
        case ("mul", a, b):
            return f"({show(a)}*{show(b)})"
        case ("pow", a, b):
            return f"({show(a)}**{show(b)})"
        case ("call", name, *args):
            return f"{name}({', '.join(show(arg) for arg in args)})"
        case (relation, a, b):
            return f"{show(a)} {relation} {show(b)}"
    raise CertificateError("ill-formed term")


class Proof:
    """A proof under construction.

    Args:
        statement: JSON form of the goal, see `dlinear.certify`.
        **auxiliary: further symbols of the proof, name -> sort.

    Facts are referred to by the integers that the methods return.
    """

    def __init__(self, statement: Statement, **auxiliary: str) -> None:
        self.statement = statement
        self.auxiliary = auxiliary
        symbols = {**statement.get("symbols", {}), **auxiliary}
        self.kernel = Kernel(read_context({**statement, "symbols": symbols}), evaluate=False)
        self.steps: list[dict[str, Any]] = []

    def add(self, rule: str, conclusion: str, premises: Sequence[int] = (), **parameters: Any) -> int:
        """Adds a step; raises `CertificateError` if its rule does not give the conclusion."""
        step: dict[str, Any] = {"rule": rule, "conclusion": conclusion}
        if premises:
            step["from"] = list(premises)
        step.update(parameters)
        try:
            self.kernel.step(step)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            at = f"step {len(self.steps)} ({rule}) {conclusion[:160]}: {error}"
            raise CertificateError(at.replace("\n", " ")) from error
        self.steps.append(step)
        return len(self.steps) - 1

    def text(self, fact: int) -> str:
        """Formula of a fact, as text."""
        return show(self.kernel.facts[fact].formula)

    def hypotheses(self, fact: int) -> list[str]:
        """Hypotheses that a fact still has, as text."""
        return [show(tree) for tree in self.kernel.facts[fact].hypotheses.values()]

    # -- structure
    def assume(self, formula: str) -> int:
        """F |- F: a hypothesis of the statement, or one that a later step removes."""
        return self.add("assume", formula)

    def cut(self, fact: int, *others: int) -> int:
        """Removes from a fact the hypotheses that the other facts conclude."""
        return self.add("cut", self.text(fact), [fact, *others])

    def cases(self, on: str, first: int, second: int) -> int:
        """From A <= B |- C and B <= A |- C: C, with `on` = "A <= B"."""
        return self.add("cases", self.text(first), [first, second], on=on)

    def instantiate(self, fact: int, sides: Sequence[int] = (), **terms: str) -> int:
        """Terms for symbols; `sides` are facts that show that sorts are kept where that is not manifest."""
        mapping = {name: parse(text) for name, text in terms.items()}
        conclusion = show(substitute(self.kernel.facts[fact].formula, mapping))
        return self.add("instantiate", conclusion, [fact, *sides], **{"with": terms})

    def induction(self, variable: str, formula: str, base: int, step: int, upto: str | None = None) -> int:
        """P(variable) from P(0) and P(k) |- P(k+1); with `upto` the step may also assume k + 1 <= upto."""
        extra = {} if upto is None else {"upto": upto}
        return self.add("induction", formula, [base, step], variable=variable, **extra)

    def absurd(self, fact: int, conclusion: str) -> int:
        """Anything from a false inequality such as 1 <= 0."""
        return self.add("absurd", conclusion, [fact])

    # -- scalars
    def linear(
        self,
        conclusion: str,
        premises: Mapping[int, str] | None = None,
        squares: Sequence[tuple[str, str]] = (),
        *,
        auto: Sequence[int] = (),
        terms: Sequence[str] = ("1",),
    ) -> int:
        """right - left = sum multiplier (right_i - left_i) + sum weight square + manifestly non-negative.

        Args:
            conclusion: left <= right, left < right or left == right.
            premises: fact -> its multiplier.
            squares: (weight, what is squared).
            auto: facts whose multipliers are looked for: a number, or a sum of numbers times `terms`.
            terms: see `auto`; over inequalities each must be manifestly not negative.

        Raises:
            CertificateError: refused by the checker; the message shows the remainder.
        """
        chosen = dict(premises or {})
        if auto:
            if chosen or squares:
                raise CertificateError("linear takes premises and squares, or auto: not both")
            chosen = multipliers.find(self.kernel, parse(conclusion), auto, terms)
        parameters: dict[str, Any] = {}
        if chosen:
            parameters["multipliers"] = list(chosen.values())
        if squares:
            parameters["squares"] = [list(pair) for pair in squares]
        try:
            return self.add("linear", conclusion, list(chosen), **parameters)
        except CertificateError as error:
            if "remainder" not in str(error) and "normal form" not in str(error):
                raise
            rest = multipliers.remainder(self.kernel, parse(conclusion), chosen, squares)
            raise CertificateError(f"{error}; the remainder is {multipliers.shown(rest)}") from None

    def product(self, one: int, two: int, conclusion: str | None = None) -> int:
        """From A <= B and C <= D: 0 <= (B - A)*(D - C), or a formula with that normal form."""
        if conclusion is None:
            a, b = (self.kernel.facts[i].formula for i in (one, two))
            strict = a[0] == b[0] == "<"
            sides = [f"({show(f[2])} - ({show(f[1])}))" for f in (a, b)]
            conclusion = f"0 {'<' if strict else '<='} {'*'.join(sides)}"
        return self.add("product", conclusion, [one, two])

    def antisymmetry(self, conclusion: str, one: int, two: int) -> int:
        """A == B from the two inequalities."""
        return self.add("antisymmetry", conclusion, [one, two])

    def discrete(self, fact: int, conclusion: str) -> int:
        """a + 1 <= b from a < b between integers."""
        return self.add("discrete", conclusion, [fact])

    def order(self, fact: int, conclusion: str) -> int:
        """min(x, y) == x or max(x, y) == y from x <= y."""
        return self.add("order", conclusion, [fact])

    def reciprocal(self, of: str, *sides: int) -> int:
        """e*(1/e) == 1, with a fact 0 < e or e < 0 unless e is manifestly positive."""
        return self.add("reciprocal", f"({of})*(1/({of})) == 1", sides, of=of)

    def root(self, of: str, *sides: int) -> int:
        """sqrt(e)**2 == e, with a fact 0 <= e unless manifest."""
        return self.add("root", f"sqrt({of})**2 == {of}", sides, of=of)

    def substitute(self, equation: int, target: int, conclusion: str, *, reverse: bool = False) -> int:
        """Rewrites a fact by an equation X == Y (X by Y, or Y by X if reverse), anywhere in it."""
        extra = {"reversed": True} if reverse else {}
        return self.add("substitute", conclusion, [equation, target], **extra)

    def taylor(self, conclusion: str, variable: str, order: int, *sides: int) -> int:
        """left <= right near 0: all derivatives below `order` vanish at 0, that of `order` is >= 0."""
        return self.add("taylor", conclusion, sides, variable=variable, order=order)

    def ftc(self, integral: str, primitive: str) -> int:
        """`Int(x, lo, hi, f)` == G(hi) - G(lo)."""
        tree = parse(integral)
        name = tree[2][1]
        ends = [show(substitute(parse(primitive), {name: tree[i]})) for i in (4, 3)]
        return self.add("ftc", f"{integral} == {ends[0]} - {ends[1]}", primitive=primitive)

    def phi_step(self, order: int, at: str) -> int:
        """x*phi(k, x) == phi(k-1, x) - 1/(k-1)!."""
        factorial = 1
        for j in range(2, order):
            factorial *= j
        conclusion = f"({at})*phi({order}, {at}) == phi({order - 1}, {at}) - 1/{factorial}"
        return self.add("phi_step", conclusion, order=order, at=at)

    def ball(
        self, conclusion: str, box: Mapping[str, tuple[str, str]], *, bits: int = 64, max_boxes: int = 100_000
    ) -> int:
        """An inequality over a box with rational ends (strings or integers), by subdivision.

        The fact has the hypotheses lo <= x and x <= hi for each variable. The expression may use
        `+ - * /`, integer powers, exp, log, sqrt and phi(k, x) = sum_j x^j/(j+k)!.
        """
        ends = {name: [str(lo), str(hi)] for name, (lo, hi) in box.items()}
        tree = subdivide(conclusion, ends, bits=bits, max_boxes=max_boxes)
        return self.add("ball", conclusion, box=ends, bits=bits, tree=tree)

    # -- axioms and definitions
    def axiom(self, name: str, *args: str) -> int:
        """Instance of an axiom of `dlinear.certify.trusted.axioms`."""
        if name not in axioms.TEMPLATES:
            raise CertificateError(f"unknown axiom {name!r}")
        kinds, text = axioms.TEMPLATES[name]
        mapping = {key: parse(value) for key, value in zip(kinds, args, strict=True)}
        return self.add("axiom", show(substitute(parse(text), mapping)), name=name, args=list(args))

    def sort(self, symbol: str) -> int:
        """What the sort of a symbol says."""
        sort = self.kernel.context.symbols[symbol]
        text = {"positive": "0 < {}", "posint": "1 <= {}"}.get(sort, "0 <= {}").format(symbol)
        return self.add("sort", text, symbol=symbol)

    def layer(self, family: str, at: str) -> int:
        """N(D(at)) <= bound."""
        bound = self.kernel.context.families[family]
        if bound is None:
            raise CertificateError(f"family {family} has no bound")
        return self.add("layer", f"N({family}({at})) <= {show(bound)}", family=family, at=at)

    def window_empty(self, product: str, at: str) -> int:
        """W(at, at) == I for a product, G(at, at) == 0*I for a total."""
        value = "I" if product in self.kernel.context.products else "0*I"
        return self.add("window_empty", f"{product}({at}, {at}) == {value}", product=product, at=at)

    def window_step(self, product: str, start: str, stop: str, *sides: int) -> int:
        """W(start, stop + 1) == (I + D(stop))*W(start, stop), or G(start, stop) + D(stop) for a total."""
        context, before = self.kernel.context, f"{product}({start}, {stop})"
        if product in context.products:
            value = f"(I + {context.products[product]}({stop}))*{before}"
        else:
            value = f"{before} + {context.totals[product]}({stop})"
        text = f"{product}({start}, {stop} + 1) == {value}"
        return self.add("window_step", text, sides, product=product, start=start, stop=stop)

    def definition(self, name: str, at: str, case: int = 0, sides: Sequence[int] = ()) -> int:
        """name(at) == term of a case, with facts for its conditions."""
        index, _, cases = self.kernel.context.definitions[name]
        term = show(substitute(cases[case][1], {index: parse(at)}))
        return self.add("definition", f"{name}({at}) == {term}", sides, name=name, at=at, case=case)

    def sum_empty(self, name: str) -> int:
        """G(0) == 0."""
        return self.add("sum_empty", f"{name}(0) == 0", sum=name)

    def sum_step(self, name: str, at: str, *sides: int) -> int:
        """G(at + 1) == G(at) + term(at)."""
        index, term = self.kernel.context.sums[name]
        text = show(substitute(term, {index: parse(at)}))
        return self.add("sum_step", f"{name}({at} + 1) == {name}({at}) + {text}", sides, sum=name, at=at)

    # -- matrices
    def matrix(
        self,
        conclusion: str,
        premises: Mapping[int, tuple[str, str]] | None = None,
        transposed: Sequence[int] = (),
    ) -> int:
        """Equation of matrices: right - left = sum L_i (right_i - left_i) R_i, by expansion.

        `premises` maps a fact to (L_i, R_i); facts listed in `transposed` are used in transposed form.
        """
        chosen = dict(premises or {})
        parameters: dict[str, Any] = {}
        if chosen:
            parameters = {"left": [a for a, _ in chosen.values()], "right": [b for _, b in chosen.values()]}
        if transposed:
            parameters["transposed"] = [list(chosen).index(fact) for fact in transposed]
        return self.add("matrix", conclusion, list(chosen), **parameters)

    def definite(self, fact: int, conclusion: str) -> int:
        """X == Y from F(X - Y) <= 0."""
        return self.add("definite", conclusion, [fact])

    # -- end
    def finish(self, *goals: int) -> dict[str, Any]:
        """The certificate, with one fact for each conclusion of the statement."""
        return {
            "format": FORMAT,
            "statement": dict(self.statement),
            "auxiliary": dict(self.auxiliary),
            "steps": self.steps,
            "goals": list(goals),
        }


def plain(value: Any) -> Any:
    """Values as JSON data."""
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def refutation(
    statement: Statement, values: Mapping[str, Any], fails: int = 0, bits: int = 128
) -> dict[str, Any]:
    """Certificate that explicit values satisfy the hypotheses and violate conclusion number `fails`.

    Values: numbers as integers or strings "p/q"; matrices as lists of rows; families as {index: matrix},
    zero where not given. Symbols under "exists" in the statement get no value: the refutation holds for all.
    """
    body = {"values": plain(values), "fails": fails, "bits": bits}
    return {"format": FORMAT, "statement": dict(statement), "refutation": body}
