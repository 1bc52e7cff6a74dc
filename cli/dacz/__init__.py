"""The command line of dacfile."""
