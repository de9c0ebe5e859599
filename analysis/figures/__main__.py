"""python -m analysis.figures recipe.json out.pdf"""

import sys

from analysis.figures.command import main

if __name__ == "__main__":
    sys.exit(main())
