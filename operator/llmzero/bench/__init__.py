"""Comparing search methods at equal cost: who is compared, how, and what the numbers say."""
