"""What they may do: RBAC over the watch cache, the node rules, reviews, escalation checks."""
