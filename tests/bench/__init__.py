"""Fanlight measured beside its peers: ``python -m tests.bench`` (or ``make bench``).

``rows.py``      what is measured and what must be reached
``peers.py``     who is measured, each in an environment of its own
``subjects/``    the measuring scripts; one process per peer and round runs one of them
``runner.py``    talks to those processes, with a time cap for every row
``results.py``   medians, ratios, goals; JSON and Markdown
``page.py``      the Bokeh page
"""
