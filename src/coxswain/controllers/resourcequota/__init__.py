"""The resource quota controller: what every quota allows and what is in use, in its status.

``objects`` keeps of an object what it is charged (``api.quota``), ``decide`` sums, ``controller`` watches and
writes.
"""
