"""How to cite the library and the paper that it examines."""

from __future__ import annotations

from importlib.metadata import version

PAPER = """@article{ren2024unifying,
  title   = {Unifying Back-Propagation and Forward-Forward Algorithms through Model Predictive Control},
  author  = {Ren, Lianhai and Li, Qianxiao},
  journal = {arXiv preprint arXiv:2409.19561},
  year    = {2024},
  url     = {https://arxiv.org/abs/2409.19561},
}"""


def bibtex() -> str:
    """Two BibTeX entries: this software, and arXiv 2409.19561."""
    software = f"""@software{{dlinear,
  title   = {{dlinear: a laboratory for horizon-truncated learning in deep linear networks}},
  author  = {{{{The dlinear authors}}}},
  version = {{{version("dlinear")}}},
  license = {{MIT}},
}}"""
    return f"{software}\n\n{PAPER}"
