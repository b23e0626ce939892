"""The replication controller: what a ReplicaSet does, for the kind that came before it."""
