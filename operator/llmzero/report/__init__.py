"""The search as a picture: the tree, the best trajectory, one self-contained HTML page."""

from llmzero.report.page import render

__all__ = ["render"]
