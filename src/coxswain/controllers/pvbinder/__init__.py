"""Binds claims to volumes.

    claim Pending --match--> volume.spec.claimRef --> volume Bound --> claim.spec.volumeName --> claim Bound
    volume Bound --claim gone--> Released --Delete--> gone or Failed

``free`` offers volumes and ``match`` chooses, ``classes`` knows who provisions, ``decide`` says what each claim
and each volume needs next, ``controller`` performs it. The volume is written first: whatever stops the binding
half-way, the next look at either object finishes it.
"""
