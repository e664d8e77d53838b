"""What the two CRMs share: the history of a call, how it ended, and the steps taken for it."""
