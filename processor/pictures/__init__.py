"""Figures for people: image sheets, HTML pages, plots."""
