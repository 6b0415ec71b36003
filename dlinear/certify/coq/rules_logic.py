"""Templates of the rules of inference: hypotheses, cases, instantiation, induction, sorts."""

from __future__ import annotations

from fractions import Fraction

from dlinear.certify.coq.conditions import Given, given
from dlinear.certify.coq.printer import SORT_FORMULA, identifier
from dlinear.certify.coq.steps import ONE, ZERO, Exporter, Lemma, template
from dlinear.certify.trusted.kernel import Fact, Step, formula
from dlinear.certify.trusted.terms import INTEGER_SORTS, Tree, substitute


@template("assume")
def assume_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """The hypothesis itself."""
    script.lines.append(f"exact {out.hypothesis(script, fact, fact.formula, {})}.")


@template("cut")
def cut_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """The first premise, with its hypotheses shown by the others."""
    first, *others = step["from"]
    known = given(out, *(out.use(script, at, fact) for at in others))
    name, tree = out.use(script, first, fact, known)
    out.conclude(script, fact.formula, [(name, tree, None)])


@template("cases")
def cases_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """A <= B or B <= A."""
    split = formula(step["on"], out.kernel.context, out.kernel.reader)
    a, b = (out.printer.number(side) for side in split[1:])
    script.lines.append(f"destruct (Rle_or_le ({a}) ({b})) as [case|case].")
    for at, tree in zip(step["from"], (split, ("<=", split[2], split[1])), strict=True):
        script.lines.append("{")
        name, found = out.use(script, at, fact, given(out, ("case", tree)))
        out.conclude(script, fact.formula, [(name, found, None)])
        script.lines.append("}")


@template("instantiate")
def instantiate_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """The lemma of the premise at other terms; the sorts of the terms are shown."""
    first, *sides = step["from"]
    known = given(out, *out.available(script, sides, fact))
    target = out.kernel.facts[first]
    mapping: dict[str, Tree] = {}
    values, sorts = [], []
    for name in out.free:
        sort = out.kernel.context.symbols[name]
        text = step["with"].get(name)
        if text is None:
            values.append(identifier(name))
            sorts += [f"sort_{name}"] if out.printer.sort(name) else []
            continue
        kind = "matrix" if sort == "matrix" else "scalar"
        term = out.kernel.term(text, kind)
        mapping[name] = term
        if kind == "matrix":
            values.append(out.printer.matrix(term))
        elif sort in INTEGER_SORTS:
            values.append(out.printer.index(term))
        else:
            values.append(f"({out.printer.number(term)})")
        if sort in SORT_FORMULA:
            sorts.append(sort_proof(out, script, fact, sort, term, known))
    moved = [substitute(tree, mapping) for tree in target.hypotheses.values()]
    proofs = [pushed(out, script, tree, out.hypothesis(script, fact, tree, known)) for tree in moved]
    name = script.name("from")
    script.lines.append(
        f"pose proof (step_{first} {' '.join([*values, *sorts, *proofs])}) as {name}; push_in {name}."
    )
    out.conclude(script, fact.formula, [(name, substitute(target.formula, mapping), None)])


def pushed(out: Exporter, script: Lemma, tree: Tree, name: str) -> str:
    """A proof that Coq accepts where the formula has IZR of a sum for a sum of IZR."""
    return f"ltac:(push; exact {name})" if "IZR" in out.printer.formula(tree) else name


def sort_proof(out: Exporter, script: Lemma, fact: Fact, sort: str, term: Tree, known: Given) -> str:
    """The sort of a term: from the facts given, or manifest."""
    relation, low = SORT_FORMULA[sort]
    wanted: Tree = (relation, ("num", Fraction(low)), term)
    options = [wanted, ("<", ZERO, term)] if sort == "posint" or relation == "<=" else [wanted]
    for tree in options:
        form = out.normal.formula(tree)
        if form in known or form in fact.hypotheses:
            name = out.hypothesis(script, fact, tree, known)
            if tree is not wanted:
                lemma = "IZR_pos_one" if sort == "posint" else "le_of_pos"
                return f"ltac:(push; apply {lemma}; push; exact {name})"
            return f"ltac:(push; exact {name})"
    name = script.name("sort")
    script.lines.append(f"assert ({name} : {out.printer.formula(wanted)}).")
    script.lines.append("{")
    if sort == "posint":  # 0 < e is manifest, not always 1 <= e
        script.lines.append(f"apply (manifest_one {out.printer.index(term)}); [push; reflexivity|].")
        wanted = ("<", ZERO, term)
    out.conclude(script, wanted, [])
    script.lines.append("}")
    return f"ltac:(push; exact {name})"


@template("induction")
def induction_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """Induction over a natural number, up to a limit or without one."""
    name = step["variable"]
    k = identifier(name)
    base, onward = step["from"]
    after: Tree = ("add", ("sym", name), ONE)
    predicate = out.printer.formula(fact.formula)
    start, end = (substitute(fact.formula, {name: t}) for t in (ZERO, after))
    limit = out.kernel.term(step["upto"]) if "upto" in step else None
    lemma, extra = "Z_induction", ""
    if limit is not None:
        lemma = "Z_induction_upto"
        extra = f" ({out.printer.number(limit)})"
    script.lines.append(f"assert (start : {out.printer.formula(start)}).")
    script.lines.append("{")
    found, tree = out.use(script, base, fact)
    out.conclude(script, start, [(found, tree, None)])
    script.lines.append("}")
    bound = f" -> IZR {k} + 1 <= {out.printer.number(limit)}" if limit is not None else ""
    script.lines.append(
        f"assert (onward : forall {k} : Z, 0 <= IZR {k} -> {predicate}{bound} -> {out.printer.formula(end)})."
    )
    script.lines.append("{")
    script.lines.append(
        f"clear dependent {k}; intros {k} sort_{name} before" + (" within." if bound else ".")
    )
    known = given(out, ("before", fact.formula))
    if limit is not None:
        known |= given(out, ("within", ("<=", after, limit)))
    found, tree = out.use(script, onward, fact, known)
    out.conclude(script, end, [(found, tree, None)])
    script.lines.append("}")
    tail = f" sort_{name}"
    if limit is not None:
        tail += f" {out.hypothesis(script, fact, ('<=', ('sym', name), limit), {})}"
    script.lines.append(
        f"refine ({lemma} (fun {k} : Z => {predicate}){extra} _ _ {k}{tail}); "
        f"[exact start | intros; push; now apply onward]."
    )


@template("absurd")
def absurd_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """A <= B where A - B is positive."""
    [(_, tree)] = out.premises(script, step, fact)
    false: Tree = ("<" if tree[0] == "<=" else "<=", tree[2], tree[1])
    script.lines.append(f"exfalso; assert (no : {out.printer.formula(false)}).")
    script.lines.append("{")
    out.conclude(script, false, [])
    script.lines.append("}")
    script.lines.append("lra.")


@template("sort")
def sort_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """What the sort of a symbol says."""
    name = step["symbol"]
    relation, low = SORT_FORMULA[out.kernel.context.symbols[name]]
    tree: Tree = (relation, ("num", Fraction(low)), ("sym", name))
    source = "(width_sort Mat)" if name == "n" else f"sort_{name}"
    out.conclude(script, fact.formula, [(source, tree, None)])
