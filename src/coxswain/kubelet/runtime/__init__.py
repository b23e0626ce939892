"""Container runtimes behind one interface with CRI's verbs: ``process``, ``hollow`` (and ``cri``, later)."""
