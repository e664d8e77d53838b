"""A relay between UIS telephony and the systems of a business."""

__version__ = "0.1.0"
