"""The command line of dacfile: one module per command, `render` for what a run shows, `app` to start it all."""
