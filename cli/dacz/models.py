"""`dacz models`: what is installed, and how more gets here. Nothing is ever downloaded but by `fetch`."""

from __future__ import annotations

import typer
app = typer.Typer(help="Models: list, show.", no_args_is_help=True, rich_markup_mode=None)
@app.command("list")
def list_models() -> None:
    """List."""
@app.command("show")
def show() -> None:
    """Show."""
