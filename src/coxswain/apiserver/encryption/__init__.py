"""Encryption at rest: the store holds only cipher text of the resources that a file names.

    pipeline -> watch cache (plain) -> Storage -> EncryptedStore -> Store (memory, SQLite, ...)
                                                   seals what is written, opens what is read

    configuration.py   the file (apiserver.config.k8s.io/v1 EncryptionConfiguration), checked as Kubernetes does
    ciphers.py         AES-GCM, AES-CBC, secretbox, AES-GCM under derived keys
    providers.py       a cipher's keys behind a prefix (``k8s:enc:aesgcm:v1:key1:``), and the list of one resource
    kms.py             keys kept by a KMS plugin (KMS v2), over a Unix socket
    sealedstore.py     the store in between
    reloading.py       follows the file while the server runs

The form of a value is Kubernetes', so either can read what the other has written. A resource that the file
does not name costs one look into a table; without a file there is no such store at all.
"""
