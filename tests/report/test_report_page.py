"""The page: what it says, that it fetches nothing; in a browser: that it can be read, used and believed."""

import dataclasses
import functools
import html as markup
import json
import re
import shutil

import numpy as np
import pytest
from paths import ROOT

import dlinear
from dlinear.certify import registry
from dlinear.cli import page as command
from dlinear.errors import RecordError
from dlinear.report import html, mathml
from dlinear.theory import bounds, limits, scalar

CLAIMS = [claim for claims in registry.discover(ROOT / "proofs").values() for claim in claims]
TEXT = "one <b>& two"


def row(claim, **others):
    found = {"id": claim.id, "verdict": str(claim.expected), "method": "3 exact steps", "evidence": TEXT}
    return {**found, **others}


@pytest.fixture(scope="module")
def found():
    rows = {claim.id: row(claim) for claim in CLAIMS[:-1]}
    steps = [
        html.Step("dlinear sim good", "Is it?", 0, 3.2, "table\nsupported: q: 1\nno verdict: r: 2\n"),
        html.Step("dlinear sim bad", "Is it <not>?", 1, 3.2, "NOT SUPPORTED: q: 1\n" + "x" * 9000),
    ]
    figure = html.Figure("decay", ROOT / "docs" / "decay.png", "sin^2 <falls>.")
    return html.Findings(CLAIMS, rows, [figure], steps, {"python": "3.11"})


@pytest.fixture(scope="module")
def text(found):
    return html.page(found)


def test_it_shows_every_decided_statement_and_counts_the_rest(text, found):
    assert len(re.findall(r'<details class="claim"', text)) == len(found.rows)
    assert "1 statements were not decided" in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids)), "an id twice"
    for target in re.findall(r'href="#([^"]+)"', text):
        assert target in {*ids, CLAIMS[-1].id}, target


def test_what_was_found_is_escaped(text):
    assert TEXT not in text
    assert "one &lt;b&gt;&amp; two" in text
    assert "Is it &lt;not&gt;?" in text
    assert "sin^2 &lt;falls&gt;." in text


def test_measurements_are_counted_and_long_texts_cut(text):
    assert "1 questions supported by the numbers, 1 not" in text
    assert "characters left out" in text
    assert "exit status 1" in text


def test_an_unexpected_verdict_is_marked(found):
    (claim, *_) = CLAIMS
    page = html.page(html.Findings([claim], {claim.id: row(claim, verdict="undecided")}))
    assert "unexpected" in page
    assert "unexpected" not in html.page(html.Findings([claim], {claim.id: row(claim)}))


def test_nothing_is_fetched(text):
    places = re.findall(r'(?:src|href)="([^"#]+)', text) + re.findall(r"url\(([^)]*)\)", text)
    assert all(place.startswith("data:") for place in places)
    assert not re.search(r"\b(?:fetch|XMLHttpRequest|import)\s*\(", text)


def test_every_formula_of_the_ledger_becomes_mathematics():
    for claim in CLAIMS:
        for said in [*claim.goal.get("hypotheses", []), *claim.goal.get("conclusions", [])]:
            assert mathml.formula(said, claim.goal).startswith("<math"), said


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("(a + b)*c", "(a+b)c"),
        ("a + b*c", "a+bc"),
        ("a - (b - c)", "a−(b−c)"),
        ("a - b - c", "a−b−c"),
        ("(-a)*b", "(−a)b"),
        ("2*3", "2·3"),
        ("(a*b)**2", "(ab)2"),
        ("a*b**2", "ab2"),
        ("N(W(a, b)) <= 1", "‖Wab‖2≤1"),
        ("ip(X, Y) == 0", "⟨X,Y⟩=0"),
        ("(X*Y).T", "(XY)⊤"),
        ("lambda_2 < y1", "λ2<y1"),
        ("exp(-c)*(1 + x)", "e−c(1+x)"),
        ("Int(s, 0, 1, a + s)", "∫01(a+s)ds"),
        ("0 < a < b", "0<a<b"),
    ],
)
def test_formulas_keep_their_meaning(said, shown):
    """The text of the elements alone: parentheses where they are needed, and only there."""
    text = re.sub(r"<[^>]*>", "", mathml.formula(said, {"products": {"W": "D"}}))
    assert markup.unescape(text) == shown


@pytest.mark.parametrize("said", ["a if b else c", "[1, 2]", "a !=", "a or b", "a is b"])
def test_what_is_no_formula_stays_text(said):
    assert mathml.formula(said, {}) == f"<code>{said}</code>"


# -- the command --------------------------------------------------------------------------------------------
def test_the_command_reads_what_a_run_left(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "steps").mkdir(parents=True)
    (tmp_path / "figures").mkdir()
    (tmp_path / "results" / "statements.json").write_text(json.dumps([row(CLAIMS[0])]))
    step = {
        "command": "dlinear sim x",
        "question": "?",
        "status": 0,
        "seconds": 1.0,
        "output": "supported: q: 1",
    }
    (tmp_path / "results" / "steps" / "x.json").write_text(json.dumps(step))
    shutil.copy(ROOT / "docs" / "decay.png", tmp_path / "figures" / "decay.png")
    (tmp_path / "figures" / "decay.txt").write_text("A caption of its own.")
    assert command.main(command.Knobs()) == 0
    assert "1 statements, 1 simulations, 1 figures" in capsys.readouterr().out
    assert "A caption of its own." in (tmp_path / "results" / "report.html").read_text()


STEP = {"command": "c", "question": "?", "status": 0, "seconds": 1.0, "output": ""}
DAMAGED = {
    "no JSON": ("statements.json", "{"),
    "no list": ("statements.json", '{"id": {}}'),
    "no rows": ("statements.json", "[1]"),
    "a row without a verdict": ("statements.json", '[{"id": "eq_13"}]'),
    "an unknown verdict": ("statements.json", json.dumps([{**row(CLAIMS[0]), "verdict": "true"}])),
    "a verdict that is no text": ("statements.json", json.dumps([{**row(CLAIMS[0]), "verdict": 3}])),
    "a row without evidence": ("statements.json", json.dumps([{**row(CLAIMS[0]), "evidence": None}])),
    "a step without its words": ("steps/x.json", '{"a": 1}'),
    "a step that is a list": ("steps/x.json", "[]"),
    "an output that is no text": ("steps/x.json", json.dumps({**STEP, "output": 3})),
    "a duration that is no number": ("steps/x.json", json.dumps({**STEP, "seconds": "long"})),
}


@pytest.mark.parametrize(("name", "content"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, name, content):
    (tmp_path / "steps").mkdir()
    (tmp_path / name).write_text(content)
    with pytest.raises(RecordError, match=rf"{re.escape(name)}.*run dlinear"):
        command.main(command.Knobs(results=str(tmp_path), figures=str(tmp_path)))


def test_an_empty_folder_is_said_to_be_empty(tmp_path, capsys):
    places = {"results": str(tmp_path / "none"), "figures": str(tmp_path)}
    assert command.main(command.Knobs(**places)) == 0
    assert "run dlinear reproduce" in capsys.readouterr().err


def test_hostile_text_stays_text(tmp_path):
    nasty = "</script><script>alert('x')</script><img src=x onerror=alert(1)> \" ' {{ 7*7 }} &amp;"
    picture = tmp_path / "p.png"
    shutil.copy(ROOT / "docs" / "decay.png", picture)
    rows = {CLAIMS[0].id: {**row(CLAIMS[0]), "method": nasty, "evidence": nasty}}
    steps = [html.Step(nasty, nasty, 1, 1.0, f"supported: {nasty}\n{nasty}")]
    text = html.page(
        html.Findings(CLAIMS, rows, [html.Figure(nasty, picture, nasty)], steps, {nasty: nasty}), nasty
    )
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "alert(&#39;x&#39;)" in text
    assert "{{ 7*7 }}" in text


# -- in a browser -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if (path := shutil.which("chromium")) is None:
        pytest.skip("no chromium")
    with api.sync_playwright() as control:
        found = control.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=[400, 1400])
def opened(browser, found, tmp_path, request):
    """The page of some statements in a window of that width; nothing in the console, nothing asked for."""
    path = tmp_path / "report.html"
    few = {claim.id: found.rows[claim.id] for claim in CLAIMS[:-1:5]}
    path.write_text(html.page(dataclasses.replace(found, rows=few)), encoding="utf-8")
    window = browser.new_page(viewport={"width": request.param, "height": 900})
    said, asked = [], []
    window.on("console", lambda message: said.append(message.text))
    window.on("pageerror", lambda error: said.append(str(error)))
    window.on("request", lambda request: asked.append(request.url))
    window.goto(path.as_uri())
    yield window
    assert not said
    assert all(url.startswith(("file:", "data:")) for url in asked)
    window.close()


@pytest.mark.slow
def test_a_browser_shows_it_without_sideways_scrolling_and_filters_it(opened):
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    visible = "[...document.querySelectorAll('details.claim')].filter((row) => !row.hidden).length"
    shown = CLAIMS[:-1:5]
    assert opened.evaluate(visible) == len(shown)
    opened.fill("#words", f"{shown[0].id} {shown[0].form}")
    assert opened.evaluate(visible) == 1
    opened.fill("#words", "")
    opened.select_option("#verdict", "refuted")
    refuted = sum(str(claim.expected) == "refuted" for claim in shown)
    assert refuted
    assert opened.evaluate(visible) == refuted
    assert opened.inner_text("#shown") == f"{refuted} of {len(shown)} statements"


@pytest.mark.slow
@pytest.mark.parametrize("opened", [400], indirect=True)
def test_nothing_serious_keeps_people_out(opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    opened.evaluate("document.querySelectorAll('details').forEach((row, i) => { row.open = i % 9 === 0; })")
    violations = axe.Axe().run(opened).response["violations"]
    bad = [(v["id"], v["impact"]) for v in violations if v["impact"] in ("serious", "critical")]
    assert not bad, violations


def evaluated(window, given, body):
    """An expression of the page's functions d at the state s."""
    return window.evaluate(f"(s) => {{ const d = dlinearExplore; return {body}; }}", given)


STATES = [{"c": 0.5, "y": 0.5}, {"c": -1.2, "y": 3.0}, {"c": 1.5, "y": -2.0}]


@pytest.mark.slow
@pytest.mark.parametrize("opened", [1400], indirect=True)
def test_the_closed_forms_of_the_page_are_those_of_the_library(opened):
    depth, ms = 300, [1, 2, 7, 60, 200, 299]
    for state in STATES:
        c, y = state["c"], state["y"]
        given = {**state, "depth": depth, "sigma": 0.7, "seed": 3}
        call = functools.partial(evaluated, opened, given)
        wide = np.array(call("[...d.layers(s)]"))
        assert abs(wide.std() - 0.7) < 0.1
        net = dlinear.DenseNetwork.from_weights((1 + wide / depth)[:, None, None])
        expected = dlinear.alignment(net, np.array([[y]]), depth - np.array(ms)).sin2
        exact = call(f"d.exact(d.layers(s), s.y, {ms})")
        np.testing.assert_allclose(exact, expected, rtol=1e-9)
        residual = float(np.prod(1 + wide / depth) - y)
        largest = float(np.abs(wide).max())
        for m in ms:
            bound = bounds.theorem_a(depth, depth - m, largest, 1, abs(residual))
            np.testing.assert_allclose(
                call(f"d.theoremA({depth}, {largest!r}, {residual!r}, {m})"), bound, rtol=1e-9
            )
            lemma = scalar.sin2_of_gap(m / depth, c, y)
            np.testing.assert_allclose(call(f"d.lemmaC5(s.c, s.y, {m / depth!r})"), lemma, rtol=1e-6)
        pair = limits.rough_constants(np.array([[c]]), 0.7, np.array([[y]]), depth)
        law = limits.decay_law(*pair, np.array(ms), depth)
        np.testing.assert_allclose(
            call(f"{ms}.map((m) => d.law(d.constants(s), s.depth, m))"), law, rtol=1e-9
        )


@pytest.mark.slow
@pytest.mark.parametrize("opened", [1400], indirect=True)
def test_sliders_redraw_and_the_verdict_is_in_words(opened):
    def said(**values):
        for name, value in values.items():
            opened.evaluate(
                "([name, value]) => { const f = document.getElementById(`x-${name}`); f.value = value;"
                " f.dispatchEvent(new Event('input')); }",
                [name, value],
            )
        return opened.inner_text("#x-verdict")

    assert "cubic decay, order 3" in said(sigma=0)
    assert "order 2" in said(sigma=1.0)
    assert "Identity layers" in said(sigma=0, c=0)
    assert "nearly trained" in said(c=0.5, y=1.65)
    assert "order 5" in said(c=0.5, y=3.3)
    assert opened.evaluate("document.querySelectorAll('#x-plot circle').length") > 10
