"""One stage of GRPO with TRL: load, train, evaluate, save, report.

In: a StageRequest in the environment. Out: JSON lines on stdout, a reserved exit code
(``llmzero.api.contract``), and everything else in the stage's directory.
"""
