"""Volumes for development: directories of this machine, made for claims and removed with their volumes."""
