"""``python -m skyvypack``."""

from skyvypack.cli import main

main()
