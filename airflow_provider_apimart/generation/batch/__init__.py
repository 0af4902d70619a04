"""Many generations in one task: a plan, a journal of what became of each row, and the engine that works them off.

A row is paid for once, whoever resumes the batch: its intent is in the journal before its request is sent.
"""
