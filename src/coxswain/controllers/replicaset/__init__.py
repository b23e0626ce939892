"""The replica set controller: as many pods as asked for. ``decide`` is pure, ``controller`` performs."""
