"""Many generations in one task: a plan, a journal of what became of each row, and the engine that carries the plan out.

A row is paid for once, whichever process resumes the batch: its intent is in the journal before its request is sent.
"""
