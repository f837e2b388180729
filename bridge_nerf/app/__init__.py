"""What stands behind the app (`app.py`): orders, the studio that makes them, visitors' folders, drawings.

Everything here is free of gradio but for `tabs`, which holds the widgets, one module a tab.
"""
