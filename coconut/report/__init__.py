"""The result of a sweep, to read, to look at and to listen to."""

from coconut.report.board import Board, Entry, Nearest, markdown, rank, table
from coconut.report.page import page, write

__all__ = ["Board", "Entry", "Nearest", "markdown", "page", "rank", "table", "write"]
