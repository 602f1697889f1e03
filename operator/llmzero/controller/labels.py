"""Labels that the operator puts on what it makes, and finds it by."""

SEARCH_LABEL = "llmzero.dev/search"
NODE_LABEL = "llmzero.dev/node"
ATTEMPT_LABEL = "llmzero.dev/attempt"
JOB_LABEL = "llmzero.dev/job"
MANAGED_LABEL = "app.kubernetes.io/managed-by"
