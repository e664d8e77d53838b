"""The intake: a notification is read, recognised and stored, with one delivery for each target that gets it."""
