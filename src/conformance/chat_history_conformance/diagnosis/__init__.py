"""Find out what went wrong, and write the script that shows it."""
