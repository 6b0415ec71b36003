"""What is shown: verdict lines, tables, figures and pages."""

from dlinear.report.verdicts import Answer, finish, table

__all__ = ["Answer", "finish", "table"]
