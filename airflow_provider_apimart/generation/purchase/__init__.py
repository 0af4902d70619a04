"""The one paid request: identity, record, decision, and what its outcome means for the user.

A generation is paid for once: each paid POST carries a key that the next try computes again, and an unknown outcome is
never taken for a failure.
"""
