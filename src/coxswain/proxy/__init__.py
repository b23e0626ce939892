"""From services to endpoints: which endpoint takes a connection."""
