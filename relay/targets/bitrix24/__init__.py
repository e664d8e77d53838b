"""Bitrix24 telephony."""
