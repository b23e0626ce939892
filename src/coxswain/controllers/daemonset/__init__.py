"""The daemon set controller: one pod on every node that may have it.

placement    which nodes those are, and a pod meant for one of them
decide       what is to be created and deleted, rolling updates, status: pure
controller   performs it
"""
