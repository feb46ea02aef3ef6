"""Calls on histories: in this process or a second one, synchronous or asynchronous."""
