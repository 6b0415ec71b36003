"""What a terminal shows: colours of verdicts, claims grouped by verdict within the window."""

import io

import pytest
from paths import ROOT

from dlinear.certify import decide, registry
from dlinear.cli.reproduction import VERDICT
from dlinear.report import claims_screen, verdicts


@pytest.mark.parametrize("word", verdicts.COLOURS)
def test_a_verdict_is_coloured_and_still_read(word, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    line = f"{word}: does it hold: 1"
    coloured = verdicts.coloured(line)
    assert coloured.startswith("\x1b[")
    assert coloured.endswith(": does it hold: 1")
    assert VERDICT.match(coloured)[1] == VERDICT.match(line)[1] == word
    monkeypatch.setenv("NO_COLOR", "1")
    assert verdicts.coloured(line) == line


def test_what_is_piped_has_no_colour(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    verdicts.finish([verdicts.Answer("q", True, "1")])
    assert capsys.readouterr().out == "supported: q: 1\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    verdicts.finish([verdicts.Answer("q", True, "1")])
    assert "\x1b[32msupported\x1b[0m" in capsys.readouterr().out


@pytest.mark.parametrize("width", [40, 72, 100, 160])
def test_claims_are_grouped_by_verdict_within_the_width(width):
    claims = registry.select(registry.discover(ROOT / "proofs"), ("eq_9", "lemma_c1_upper_printed"))
    file = io.StringIO()
    claims_screen.show([decide.decide(claim) for claim in claims], file, width)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(file.getvalue().split())
    assert text.index("refuted: ") < text.index("proved: ")
    assert "lemma_c1_upper_printed" in text
    assert "eq_9" in text
    assert len(lines) < 30, "a narrow window gives evidence its whole width"


ROWS = [["smooth", "1.302", "a long sentence that says what was found"], ["gaussian", "0.001", "another one"]]
HEADER = ("kind of layers", "measured constant", "verdict in words")


@pytest.mark.parametrize("width", [30, 40, 60, 200])
def test_a_wide_table_is_folded_on_a_terminal_alone(width, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    plain = verdicts.table(HEADER, ROWS)
    assert max(map(len, plain.splitlines())) > 60
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    shown = verdicts.table(HEADER, ROWS)
    if width == 200:
        assert shown == plain
        return
    assert max(map(len, shown.splitlines())) <= width
    assert set(plain.replace("-", "").split()) == set(shown.replace("-", "").split())


def test_numbers_stay_whole_and_columns_that_do_not_fit_follow_below(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    header = ("T", *(f"rule {k}, h = {k}" for k in range(9)))
    rows = [[str(10**k), *(f"{j}.{k}e-{j + 10}" for j in range(9))] for k in range(3)]
    shown = verdicts.table(header, rows)
    assert max(map(len, shown.splitlines())) <= 40
    for row in rows:
        for cell in row[1:]:
            assert cell in shown.split()
    assert shown.count("1000") == 0
    assert sum(line.startswith("100 ") for line in shown.splitlines()) == shown.count("\n\n") + 1 > 1
