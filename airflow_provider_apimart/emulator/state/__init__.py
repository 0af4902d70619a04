"""An emulator's settings and memory: generations, keys and scripted faults.

Each change is one transaction, so that a kill leaves either all or none of it.
"""
