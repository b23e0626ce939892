"""The resource quota controller: what every quota allows and what is in use, in its status.

``objects`` keeps of an object what it is charged (``api.quota``), ``decide`` sums, ``charges`` holds what admission
charged for objects that are not seen yet, ``controller`` watches and writes.
"""
