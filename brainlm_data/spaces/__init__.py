"""Parcellations and templates: the embedded atlas, and TemplateFlow's files."""
