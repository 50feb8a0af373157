"""The clients that are driven against the server, one file each; each file lists its cases in CASES."""
