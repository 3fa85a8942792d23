"""Forecasting the field of magnets with memory."""
