"""The command line: argv → model → daemon or engine → text. The only room that exits."""
