"""The paper's experiments: which runs, what one computes, what their records say beside the paper.

- `settings`: the models, the data and sizes of the default runs, and those of Table D2.
- `course`: one training run: losses, accuracies, memory and, where asked, angles by epoch.
- `angles` (Figure 2), `memory` (Figure E1), `losses` (Figure E2), `tuning` (Figures 3 and 4): from records to
  tables, curves and findings. The scripts of the same names in sims/ and paper_figs/ only call them.
"""
