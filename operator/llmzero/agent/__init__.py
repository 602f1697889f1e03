"""The agent service: prompts, plots, model providers and the HTTP app around them."""
