"""Tokens of service accounts that live in secrets, the old kind: filled in, and cleaned up when nobody uses them."""
