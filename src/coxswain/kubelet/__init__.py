"""The node agent: registers a node, keeps its lease, and makes the pods bound to it real."""
