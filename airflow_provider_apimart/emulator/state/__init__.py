"""What an emulator is told and remembers: settings, generations, keys and scripted faults.

Each change is one transaction, so that a kill leaves all of it or nothing.
"""
