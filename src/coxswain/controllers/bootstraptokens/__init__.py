"""Bootstrap tokens: ``cluster-info`` is signed with them, so that who joins can trust it; they expire."""
