"""What the interop suites stand on: the sandbox, the servers, and the way results are told.

Nothing here knows a client; those live in ../clients, one file each. Standard library only.
"""
