"""Ephemeral volumes: the claims that pods bring along, made for them and owned by them."""
