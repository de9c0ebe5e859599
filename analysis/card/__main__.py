"""python -m analysis.card --checkpoint FILE --data DIR"""

import sys

from analysis.card.command import main

if __name__ == "__main__":
    sys.exit(main())
