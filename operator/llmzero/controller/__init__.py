"""Kubernetes as the engine: the plan's decisions applied with StageNodes and Jobs.

kube (API calls), pods and store (what was seen), jobs, deadlines, conditions (builders and
readers, pure) < logs, storage, asking < apply < hearing, ends, retention, status < reconcile (one
search, one plan at a time) < watch (kopf), lease, operator (the process).
"""
