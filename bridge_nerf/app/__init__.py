"""The app behind `app.py`: requests, the worker that makes them, sessions, the plane, the 3D gallery.

Everything here is free of gradio but for `tabs`, which holds the widgets, one module a tab.
"""
