"""What an operator sees and does, whether on the command line or on the page."""
