"""Reference chat-message histories, one module each, that pass the conformance contracts.

`memory` and `sqlite` need nothing but langchain-core. A module that needs a client library imports
it itself, so importing this package imports no client.
"""
