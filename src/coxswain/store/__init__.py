"""A revisioned key-value store with watch: one interface, several backends.

``interface`` is the contract; ``memory``, ``sqlite`` and ``etcd`` keep it, and one suite (tests/store) checks each.
Only the API server opens a store.
"""
