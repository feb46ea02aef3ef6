"""Reference chat histories that pass the contracts of the suite.

`memory` and `sqlite` need only langchain-core. `kafka` and `elasticsearch` also need a client
library. Importing this package imports no client library.
"""
