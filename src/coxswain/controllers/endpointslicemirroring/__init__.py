"""Slices for services without a selector, copied from the Endpoints that somebody wrote."""
