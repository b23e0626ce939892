"""Flags of `cox apiserver`, one module a concern: `add(parser)` and `settings(args)`."""
