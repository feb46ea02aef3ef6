"""Call a history: in this process, in a second process, synchronously or asynchronously."""
