"""The command line: everything that is run by hand, each subcommand a module."""
