"""Reference chat-message histories, one module each, that pass the conformance contracts.

``backends.memory`` and ``backends.sqlite`` need nothing but langchain-core; a module that needs
a client library imports it itself, so importing this package pulls in none.
"""
