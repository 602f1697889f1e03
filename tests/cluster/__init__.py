"""A real Kubernetes for tests: built from the Go module proxy, started in seconds."""
