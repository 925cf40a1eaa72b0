"""Tests on the real servers."""
