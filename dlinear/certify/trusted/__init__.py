"""All that a verdict rests on: the language, the kernel, its rules and axioms, exact and ball arithmetic."""
