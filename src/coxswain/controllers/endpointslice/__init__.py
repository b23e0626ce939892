"""The endpoint slice controller: all addresses behind a service, in slices of at most a hundred."""
