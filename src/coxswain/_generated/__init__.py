"""What is made from ``proto/`` and never edited: ``make proto`` writes it anew.

``descriptors.py`` holds the compiled descriptions, ``messages.py`` makes classes of them at run time. That
way no generated code is committed that demands one version of the protobuf runtime.
"""
