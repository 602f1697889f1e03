"""``llmzero``: the commands. One file a group; nothing heavy is imported before it is needed."""
