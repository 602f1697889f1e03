"""Kubernetes as the engine: the plan's decisions applied with StageNodes and Jobs.

kube (API calls) < store (objects seen) < jobs, pods (builders and readers, pure) < logs, apply
< reconcile (one search, one plan at a time) < handlers, lease, operator (kopf and the loop).
"""
