"""Engines hold the table and move packets. Every engine answers to `engines.base.Engine`."""
