"""This machine as the engine: the plan's decisions applied with subprocesses and files."""
