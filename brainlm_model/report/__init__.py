"""The report: methods, data, tables and figures on one page."""
