"""One pod's life as decisions without IO: what to do next, and the status to report."""
