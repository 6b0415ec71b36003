"""The letters of Lemma C.5 in the language of certificates, and the first steps that its proofs share.

With phi(s) = e^{cs}(e^{cs} - y), G = phi(1) and eps = 1 - alpha, a goal states the integrals of the lemma
themselves, I1 = int_alpha^1 phi + alpha G and I2 = int_alpha^1 phi^2 + alpha G^2. `bench` derives their
closed form, and from it I1 = e^{2c} I1^ and I2 = e^{4c} I2^, z = y e^{-c}, with entire I1^, I2^
(`dlinear.scalar.entire_moments`), so that later steps never divide by eps. Untrusted, like everything that
writes certificates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from dlinear.certify.prover.eliminate import Atoms, Equation, equation
from dlinear.certify.prover.proof import Proof, show
from dlinear.certify.trusted.terms import Tree, free, parse, substitute
from dlinear.theory import scalar

__all__ = ["Bench", "Language", "bench", "divide", "explicit", "statement"]


LETTERS = {
    "c": "eigenvalue of W~, the layers are e^{c/T}",
    "r": "1/c, so that c != 0",
    "y": "eigenvalue of Phi",
    "z": "y e^{-c}",
    "eps": "1 - alpha",
    "s": "variable of the integrals",
    "I1": "int_alpha^1 phi + alpha G, phi(s) = e^{cs}(e^{cs} - y), G = phi(1)",
    "I2": "int_alpha^1 phi^2 + alpha G^2",
    "sin2": "1 - f^2, f^2 = I1^2/I2",
    "K": "(1/3)(c (2e^c - y)/(e^c - y))^2",
}


@dataclass(frozen=True)
class Language:
    """The letters as sympy symbols with a text.

    Attributes:
        at: the texts; several languages may share them.
        tag: appended to c, r, y, I1 and I2: one language for each eigenvalue of the commuting case.
    """

    at: Atoms = field(default_factory=Atoms)
    tag: str = ""

    def name(self, letter: str) -> str:
        """Letter with the tag."""
        return letter + self.tag

    def __getitem__(self, letter: str) -> Any:
        """Symbol of a letter with the tag."""
        return self.at[self.name(letter)]

    @property
    def c(self) -> Any:
        """Eigenvalue of W~."""
        return self["c"]

    @property
    def eps(self) -> Any:
        """1 - alpha, shared by all eigenvalues."""
        return self.at["eps"]

    @property
    def w(self) -> Any:
        """e^c."""
        return self.at[f"exp({self.name('c')})"]

    @property
    def z(self) -> Any:
        """y e^{-c}, an atom; the checker's normal form knows that it is y/exp(c)."""
        return self.at[f"({self.name('y')}*exp(-{self.name('c')}))"]

    @property
    def y(self) -> Any:
        """y = z e^c, so that everything is a polynomial."""
        return self.z * self.w

    @property
    def full(self) -> Any:
        """G = e^c (e^c - y)."""
        return self.w**2 * (1 - self.z)

    def power(self, k: int) -> Any:
        """exp(-k c eps)."""
        return self.at[f"exp(-{k}*{self.name('c')}*eps)"]

    def phi(self, order: int, x: Any) -> Any:
        """phi(order, x) at x = -k c eps."""
        import sympy

        return self.at[f"phi({order}, -{sympy.cancel(-x / (self.c * self.eps))}*{self.name('c')}*eps)"]

    def terms(self) -> dict[str, str]:
        """r, I1 and I2 as terms: 1/c and the integrals of the lemma."""
        one, two = self.windows()
        full = f"exp({self.name('c')})*(exp({self.name('c')}) - {self.name('y')})"
        return {
            self.name("r"): f"1/{self.name('c')}",
            self.name("I1"): f"{one} + (1 - eps)*{full}",
            self.name("I2"): f"{two} + (1 - eps)*({full})**2",
        }

    def windows(self) -> tuple[str, str]:
        """The integrals of phi and phi^2 from alpha to 1, as terms."""
        c, y = self.name("c"), self.name("y")
        phi = f"exp({c}*s)*(exp({c}*s) - {y})"
        return f"Int(s, 1 - eps, 1, {phi})", f"Int(s, 1 - eps, 1, ({phi})**2)"

    def closed_terms(self) -> dict[str, str]:
        """r, I1 and I2 as terms that rational c, y and eps make numbers (`scalar.closed_form_integrals`)."""
        exact = SimpleNamespace(exp=lambda x: self.at[f"exp({self.at.text(x)})"])
        one, two, _ = scalar.closed_form_integrals(1 - self.eps, self.c, self["y"], exact)
        found = {self.name("r"): 1 / self.c, self.name("I1"): one, self.name("I2"): two}
        return {name: self.at.text(value) for name, value in found.items()}

    def moments(self) -> tuple[Any, Any]:
        """j1 and j2 of `dlinear.scalar.entire_moments`."""
        return scalar.entire_moments(self.c, self.z, self.eps, self.phi)

    def hats(self) -> tuple[Any, Any]:
        """I1/e^{2c} and I2/e^{4c}."""
        j1, j2 = self.moments()
        g, c, eps = 1 - self.z, self.c, self.eps
        return g + c * eps**2 * j1, g**2 + 2 * g * c * eps**2 * j1 + c**2 * eps**3 * j2


def statement(
    conclusions: Sequence[str],
    hypotheses: Sequence[str] = (),
    *,
    tags: Sequence[str] = ("",),
    **symbols: str,
) -> dict[str, Any]:
    """A goal about the integrals I1, I2 of each tag; r = 1/c says that c is not 0."""
    given: list[str] = []
    sorts = {"eps": "real", "s": "real"}
    for tag in tags:
        lang = Language(tag=tag)
        sorts.update({lang.name(letter): "real" for letter in ("c", "r", "y", "I1", "I2")})
        given.append(f"{lang.name('c')}*{lang.name('r')} == 1")
        given += [f"{name} == {text}" for name, text in lang.terms().items() if name != lang.name("r")]
    return {
        "symbols": {**sorts, **symbols},
        "hypotheses": [*given, *hypotheses],
        "conclusions": list(conclusions),
    }


_UNIT = re.compile(r"(c\w*)\*(r\w*) == 1")


def explicit(goal: Mapping[str, Any], terms: Mapping[str, str]) -> dict[str, Any]:
    """The goal with some symbols written out, so that rational values of the others can make it false.

    A hypothesis `c*r == 1` becomes 0 < c^2; other hypotheses about these symbols are dropped.

    Args:
        goal: as `statement` makes it.
        terms: what the hypotheses determine, symbol -> term; a term may use the symbols before it.
    """
    known: dict[str, Tree] = {}
    for name, text in terms.items():
        known[name] = substitute(parse(text), known)
    nonzero = [f"0 < {unit[1]}**2" for text in goal["hypotheses"] if (unit := _UNIT.fullmatch(text))]
    kept = [text for text in goal["hypotheses"] if not free(parse(text)) & set(known)]
    return {
        "symbols": {name: sort for name, sort in goal["symbols"].items() if name not in {*known, "s"}},
        "hypotheses": [*nonzero, *kept],
        "conclusions": [show(substitute(parse(text), known)) for text in goal["conclusions"]],
    }


@dataclass
class Bench:
    """A proof with the Taylor equations of the exponentials, and with I1, I2 in entire form.

    Attributes:
        p: the proof.
        lang: its letters.
        taylor: (order of the phi that is removed, or -1 for the exponential; equation).
        moments: the equations I1 == e^{2c} I1^ and I2 == e^{4c} I2^.
    """

    p: Proof
    lang: Language
    taylor: list[tuple[int, Equation]] = field(default_factory=list)
    moments: list[Equation] = field(default_factory=list)

    def through(self, order: int) -> list[Equation]:
        """Equations that write every exponential and every phi of lower order through phi of this order."""
        return [found for low, found in self.taylor if low < order]


def integrals(p: Proof, lang: Language, unit: int) -> list[dict[int, tuple[Any, Any]]]:
    """I1 and I2 in closed form: for each of them two facts, as `premises` of `equation` that give it.

    The primitive r f of the integrand g has the derivative r f' = c r g; it is g where c r = 1, the fact
    `unit`. So the fundamental theorem is applied to (c r) g, and the factor replaced by 1.
    """
    c, r, y = (lang.name(letter) for letter in ("c", "r", "y"))
    e1, e2, e3, e4 = (f"exp({k}*{c}*s)" for k in range(1, 5))
    rises = [lang.w**k * (1 - lang.power(k)) for k in range(1, 5)]  # e^{kc} - e^{kc (1 - eps)}
    parts = (  # letter, integrand, primitive over r, its rise from 1 - eps to 1, and G or G^2
        ("I1", f"{e2} - {y}*{e1}", f"{e2}/2 - {y}*{e1}", rises[1] / 2 - lang.y * rises[0], lang.full),
        (
            "I2",
            f"{e4} - 2*{y}*{e3} + {y}**2*{e2}",
            f"{e4}/4 - 2*{y}*{e3}/3 + {y}**2*{e2}/2",
            rises[3] / 4 - 2 * lang.y * rises[2] / 3 + lang.y**2 * rises[1] / 2,
            lang.full**2,
        ),
    )
    found = []
    for (letter, body, primitive, rise, full), window in zip(parts, lang.windows(), strict=True):
        fact = p.ftc(f"Int(s, 1 - eps, 1, ({c}*{r})*({body}))", f"{r}*({primitive})")
        closed = p.substitute(unit, fact, f"{window} == {p.text(fact).split(' == ')[1]}")
        given = p.assume(f"{lang.name(letter)} == {lang.terms()[lang.name(letter)]}")
        integral = lang.at[window]
        gaps = {closed: lang["r"] * rise - integral, given: integral + (1 - lang.eps) * full - lang[letter]}
        found.append({fact: (1, gap) for fact, gap in gaps.items()})
    return found


def bench(p: Proof, lang: Language, *, order: int = 3) -> Bench:
    """Derives the entire form of I1 and I2, with the Taylor equations up to phi(order, .), order >= 3."""
    import sympy

    result = Bench(p, lang)
    c, r, w, one = lang.c, lang["r"], lang.w, lang.name("c")
    unit: Equation = (p.assume(f"{one}*{lang.name('r')} == 1"), r, 1 - c * r)
    for low in range(-1, order):  # e^x = phi_0, x phi_1 = phi_0 - 1, x phi_2 = phi_1 - 1, ..., x = -k c eps
        for k in range(1, 5):
            x, text = -k * c * lang.eps, f"-{k}*{one}*eps"
            if low < 0:
                found = (p.axiom("phi_zero", text), lang.power(k), lang.power(k) - lang.phi(0, x))
            else:
                gap = lang.phi(low, x) - 1 / sympy.factorial(low) - x * lang.phi(low + 1, x)
                found = (p.phi_step(low + 1, text), lang.phi(low, x), gap)
            result.taylor.append((low, found))
    closed = integrals(p, lang, unit[0])
    for letter, power, hat, known in zip(("I1", "I2"), (2, 4), lang.hats(), closed, strict=True):
        symbol, value = lang[letter], w**power * hat
        fact = equation(p, lang.at, symbol, value, [*result.through(3), unit], known)
        result.moments.append((fact, symbol, value - symbol))
    return result


def divide(p: Proof, x: str, q: str, positive: int, whole: int) -> int:
    """0 <= X from the facts 0 < Q and 0 <= X Q."""
    wrong = p.assume(f"{x} <= 0")
    zero = p.antisymmetry(f"({x})*({q}) == 0", p.product(wrong, positive, f"({x})*({q}) <= 0"), whole)
    inverse = p.reciprocal(q, positive)
    second = p.linear(f"0 <= {x}", {inverse: x, zero: f"-1/({q})"})
    return p.cases(f"0 <= {x}", p.assume(f"0 <= {x}"), second)
