"""Attaching volumes to the nodes that need them, and detaching them when they are not used any more."""
