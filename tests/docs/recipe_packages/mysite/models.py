"""The table of the messages."""

from django.db import models


class StoredMessage(models.Model):
    """One message of a session. Its number gives the order."""

    session = models.TextField(db_index=True)
    text = models.TextField()
