"""Readers of what other programs write."""

from diffhep_sbi.io.histfactory import read_workspace as read_workspace
