"""Reference chat-message histories that pass the conformance contracts.

`memory` and `sqlite` need langchain-core only. `kafka` and `elasticsearch` also need a client
library, which they import themselves. Importing this package imports no client library.
"""
