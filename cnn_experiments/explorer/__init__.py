"""A page to play with a trained network: what it shows, what it may ask, and the server that answers.

`subject.py` says what the page shows of a run, `messages.py` what goes over the wire, `situation.py` and `answers.py`
compute, `server.py` serves the page. The page itself is in `page/`.
"""
