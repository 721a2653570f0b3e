"""Drawn ReID data: people, places and cameras."""

from datasets.synthetic.captions import caption

__all__ = ["caption"]
