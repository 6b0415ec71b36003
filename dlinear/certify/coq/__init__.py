"""A foreign check: certificates as Coq files.

`export` writes one section for a certificate: what the statement declares as variables and definitions, what
the kernel takes for granted about norms as hypotheses, one lemma for each step, and the statement as a
theorem. Coq proves every step again; nothing here is trusted, and a certificate that the kernel would refuse
gives a file that does not compile. Each rule of the kernel is one template of tactics (`rules`,
`rules_calculus`), the prelude of definitions and lemmas is in proofs/coq.
"""

from dlinear.certify.coq.folder import LIBRARY, Compiled, compile_files, coqc, write
from dlinear.certify.coq.statement import export

__all__ = ["LIBRARY", "Compiled", "compile_files", "coqc", "export", "write"]
