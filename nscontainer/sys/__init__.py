"""The kernel, as its manual names it: one module per manual page, each to be read and imported alone.

A function here is one call. It raises SyscallError and never falls back on another; that is for the rooms above.
"""
