"""What a request costs, and what an account and its key still hold.

Nothing here is paid for. An estimate is never presented as a charge.
"""
