"""The report: its series, its pictures, its page, and a browser that opens it."""
