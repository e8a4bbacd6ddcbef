"""The console: pages on which people see and steer what the agent does. `app.console_app` makes the application.

A page is a module with `add_pages(app)`; each of its handlers says by `@needs(role)` who may use it. docs/console.md
tells what it looks like from outside.
"""
