"""What the two CRMs share: a call's history, how it ended, the steps taken for it, tokens, the reading of answers."""
