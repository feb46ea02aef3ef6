"""Campaigns: many clients use one backend while its servers fail, and a checker judges the record.

`recording` holds what happened, `checker` judges it without running anything, and `result`,
`page` and `summary` show the verdict.
"""
