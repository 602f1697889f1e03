"""A user's side of a cluster: where it is, its searches, their logs, and why it says no."""
