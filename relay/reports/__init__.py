"""Finds calls whose notification never came: UIS keeps every call in its report, which the Data API gives."""
